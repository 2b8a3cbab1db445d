"""Is there room for it?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from asr.data.progress import size_text
from asr.types import InputError


def check_disk(folder: Path, num_bytes: int, what: str, report: Callable[[str], None]) -> None:
    """Report what ``what`` needs in ``folder``; ``InputError`` where that is more than is free."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    need = f"{what}: needs {size_text(num_bytes)} of disk in {folder}, {size_text(free)} are free"
    if num_bytes > free:
        raise InputError(f"{need}; make room or name another folder")
    report(need)
