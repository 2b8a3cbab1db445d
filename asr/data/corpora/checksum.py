"""MD5 and SHA-256 sums of files, and the lists in which they are published."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from asr.data.lines import read_lines
from asr.data.progress import Meter
from asr.types import InputError

_BLOCK_BYTES = 1 << 22
_LINE = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{64})\s+[*]?(\S.*)")


def mismatch(path: Path, expected: str, report: Callable[[str], None]) -> str:
    """What is wrong with the sum of a file, in words; empty where it is the ``expected`` one.

    ``expected`` is in hexadecimal: 32 digits of MD5, or 64 of SHA-256. A large file reports how far
    it is.
    """
    is_md5 = len(expected) == 32
    sum_ = hashlib.md5(usedforsecurity=False) if is_md5 else hashlib.sha256()
    num_bytes = 0
    with (
        path.open("rb") as file,
        Meter(f"checking {path.name}", path.stat().st_size, report) as meter,
    ):
        while block := file.read(_BLOCK_BYTES):
            sum_.update(block)
            num_bytes += len(block)
            meter(num_bytes)
    found = sum_.hexdigest()
    if found == expected:
        return ""
    return f"{'MD5' if is_md5 else 'SHA-256'} sum is {found}, expected {expected}"


def read_sums(path: Path) -> dict[str, str]:
    """File name -> sum, from a list as ``md5sum`` or ``sha256sum`` prints it."""
    sums = {}
    for where, line in read_lines(path):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{where}: not an MD5 or SHA-256 sum (32 or 64 hex digits) and a file")
        sums[Path(match[2]).name] = match[1].lower()
    return sums
