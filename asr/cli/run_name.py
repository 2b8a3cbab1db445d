"""How the run that left a model is called."""

from __future__ import annotations

from pathlib import Path

from asr.model.package import RUN_MODEL, package_folder


def run_name(model: Path) -> str:
    """The name of a model folder, or of the run folder it lies in as ``model``.

    Raises:
        InputError: see `package_folder`.
    """
    folder = package_folder(model).resolve()
    return folder.parent.name if folder.name == RUN_MODEL else folder.name
