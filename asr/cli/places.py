"""Whether a command can write where it is asked to; told before the work."""

from __future__ import annotations

import os
from pathlib import Path

from asr.types import InputError


def check_json(name: str | None) -> None:
    """Raise InputError where the file that ``--json`` names cannot be written."""
    if name and name != "-":
        if Path(name).is_dir():
            raise InputError(f"{name} is a folder; name a file for --json, or - for stdout")
        check_folder(Path(name).parent)


def check_folder(folder: Path) -> None:
    """Raise InputError unless ``folder`` is, or can become, a folder to write in."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise InputError(f"{folder} cannot be a folder: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written: no permission in {there}")
