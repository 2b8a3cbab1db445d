"""How the run that left a model is called."""

from __future__ import annotations

from pathlib import Path


def run_name(model: Path) -> str:
    """The name of a model folder, or of the run folder it lies in as ``model``."""
    folder = model.resolve()
    return folder.parent.name if folder.name == "model" else folder.name
