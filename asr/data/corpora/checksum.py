"""MD5 sums of files, and the lists in which they are published."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from asr.data.lines import read_lines
from asr.data.progress import Meter
from asr.types import InputError

_BLOCK_BYTES = 1 << 22
_LINE = re.compile(r"([0-9a-fA-F]{32})\s+[*]?(\S.*)")


def md5_of(path: Path, report: Callable[[str], None]) -> str:
    """The MD5 sum of a file; a large one reports how far it is."""
    sum_ = hashlib.md5(usedforsecurity=False)
    num_bytes = 0
    with (
        path.open("rb") as file,
        Meter(f"checking {path.name}", path.stat().st_size, report) as meter,
    ):
        while block := file.read(_BLOCK_BYTES):
            sum_.update(block)
            num_bytes += len(block)
            meter(num_bytes)
    return sum_.hexdigest()


def read_md5_list(path: Path) -> dict[str, str]:
    """File name -> sum, from a list as ``md5sum`` prints it (openslr's md5sum.txt)."""
    sums = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{path}, line {number}: not an MD5 sum (32 hex digits) and a file")
        sums[Path(match[2]).name] = match[1].lower()
    return sums
