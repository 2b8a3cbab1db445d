"""Downloading large files: resuming partial downloads and verifying checksums."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import HTTPError

from asr.data.progress import ByteProgress, size_text
from asr.data.web import USER_AGENT, is_url, pool, reason
from asr.errors import InputError
from asr.files import read_lines

_SUM_BLOCK_BYTES = 1 << 22
_LINE = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{64})\s+[*]?(\S.*)")


def mismatch(path: Path, expected: str, report: Callable[[str], None]) -> str:
    """Describe a wrong checksum of a file; empty if it equals ``expected``.

    ``expected`` is hexadecimal: 32 digits of MD5, or 64 of SHA-256. Large files report progress.
    """
    is_md5 = len(expected) == 32
    sum_ = hashlib.md5(usedforsecurity=False) if is_md5 else hashlib.sha256()
    num_bytes = 0
    with (
        path.open("rb") as file,
        ByteProgress(f"checking {path.name}", path.stat().st_size, report) as progress,
    ):
        while block := file.read(_SUM_BLOCK_BYTES):
            sum_.update(block)
            num_bytes += len(block)
            progress(num_bytes)
    found = sum_.hexdigest()
    if found == expected:
        return ""
    return f"{'MD5' if is_md5 else 'SHA-256'} sum is {found}, expected {expected}"


def read_sums(path: Path) -> dict[str, str]:
    """Read a list printed by ``md5sum`` or ``sha256sum``: file name -> checksum."""
    sums = {}
    for where, line in read_lines(path):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{where}: not an MD5 or SHA-256 sum (32 or 64 hex digits) and a file")
        sums[Path(match[2]).name] = match[1].lower()
    return sums


PAUSES_S = (1.0, 2.0, 5.0, 15.0, 30.0)  # waits after consecutive failures without any new byte
_BLOCK_BYTES = 1 << 18
_WHOLE, _PART, _NO_SUCH_RANGE = 200, 206, 416  # HTTP answers
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # temporary HTTP errors
_ONE_TRY = Retry(total=0, redirect=5, status=0, raise_on_status=False)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Report = Callable[[str], None]


class _BrokenOffError(Exception):
    """The connection failed; another try may work."""


def download(
    url: str, path: Path, *, checksum: str, num_bytes: int | None = None, report: Report
) -> None:
    """Download ``url`` to ``path``, resuming from ``<path>.part`` if that exists.

    ``checksum`` is the MD5 or SHA-256 sum in hexadecimal; ``num_bytes`` is the expected size, None
    if unknown. If a partial file of an earlier run leads to a wrong checksum, it is deleted and
    downloaded again, once.

    Raises:
        InputError: the address is wrong, the server keeps failing, or size or checksum differ.
            Then ``path`` does not appear; a correct partial file is kept.
    """
    if not is_url(url):
        raise InputError(f"{url}: not an address of the web; http:// and https:// are allowed")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = partial_path(path)
    with _opened(part) as file:
        resumed = _fetch(url, file, part, num_bytes, report)
        wrong = mismatch(part, checksum, report)
        if wrong and resumed:
            report(f"{part.name}: what an earlier run left is damaged; starting anew")
            file.truncate(0)
            _fetch(url, file, part, num_bytes, report)
            wrong = mismatch(part, checksum, report)
        if wrong:
            part.unlink()
            raise InputError(f"{path.name}: {wrong}; what {url} sent was deleted and is not used")
        part.replace(path)


def partial_path(path: Path) -> Path:
    """Return the path of the partial file of ``path``."""
    return path.with_name(f"{path.name}.part")


def offered_num_bytes(url: str) -> int | None:
    """Ask the server for the size of the file at ``url``; None if it does not say."""
    try:
        response = pool(url).request("HEAD", url, headers={"User-Agent": USER_AGENT})
    except HTTPError:
        return None
    return _length(response) if response.status == _WHOLE else None


@contextmanager
def _opened(part: Path) -> Iterator[IO[bytes]]:
    """Open the partial file and lock it for this process."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{part} is being downloaded by another process") from None
        yield file


def _fetch(url: str, file: IO[bytes], part: Path, num_bytes: int | None, report: Report) -> bool:
    """Download the rest of ``file``; return whether bytes of an earlier run were kept."""
    kept = file.seek(0, os.SEEK_END)
    if num_bytes is not None and kept > num_bytes:
        file.truncate(0)
        kept = 0
    if kept:
        report(f"{part.name}: going on after {size_text(kept)}")
    num_failures = 0
    while True:
        before = file.seek(0, os.SEEK_END)
        if before == num_bytes:
            return kept > 0
        try:
            kept = min(kept, _transfer(url, file, part, num_bytes, report))
            return kept > 0
        except _BrokenOffError as error:
            num_failures = 1 if file.seek(0, os.SEEK_END) > before else num_failures + 1
            if num_failures > len(PAUSES_S):
                raise InputError(
                    f"{url}: {error}, {num_failures} times in a row; "
                    f"{size_text(before)} are in {part}, run again to go on"
                ) from None
            report(f"{part.name}: {error}; trying again")
            time.sleep(PAUSES_S[num_failures - 1])


def _transfer(url: str, file: IO[bytes], part: Path, num_bytes: int | None, report: Report) -> int:
    """Make one request to the end of the file; return how many earlier bytes it continues from."""
    start = file.tell()
    try:
        response = _request(url, start)
    except HTTPError as error:
        raise _BrokenOffError(reason(error)) from None
    try:
        if response.status == _NO_SUCH_RANGE:
            return _past_the_end(response, file)
        if response.status in _PASSING:
            raise _BrokenOffError(f"{response.status} {response.reason}")
        if response.status not in (_WHOLE, _PART):
            raise InputError(f"{url}: {response.status} {response.reason}")
        if start and not _continues(response, start):
            report(f"{part.name}: the server does not resume; starting anew")
            file.truncate(0)
            start = file.seek(0)
        length = _length(response)
        total = None if length is None else start + length
        if None not in (total, num_bytes) and total != num_bytes:
            raise InputError(f"{url}: has {total:,} bytes, expected {num_bytes:,}; not used")
        with ByteProgress(part.stem, total, report, start_num_bytes=start) as progress:
            while block := _read(response):
                _write(file, block, part)
                progress(file.tell())
    finally:
        response.close()
    if total is not None and file.tell() < total:
        raise _BrokenOffError(f"broken off after {size_text(file.tell())} of {size_text(total)}")
    return start


def _request(url: str, start: int) -> BaseHTTPResponse:
    """Make one request without retries; `_fetch` resumes."""
    headers = {"User-Agent": USER_AGENT}
    if start:
        headers["Range"] = f"bytes={start}-"
    return pool(url).request(
        "GET",
        url,
        headers=headers,
        preload_content=False,
        enforce_content_length=False,  # `_transfer` detects a cut connection
        retries=_ONE_TRY,
    )


def _continues(response: BaseHTTPResponse, start: int) -> bool:
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    return response.status == _PART and match is not None and int(match[1]) == start


def _past_the_end(response: BaseHTTPResponse, file: IO[bytes]) -> int:
    """Handle "no further bytes": the file is complete, or the partial file is wrong."""
    size = file.tell()
    if response.headers.get("Content-Range", "") == f"bytes */{size}":
        return size
    file.truncate(0)
    raise _BrokenOffError("the partial file is longer than the whole")


def _length(response: BaseHTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _read(response: BaseHTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK_BYTES)  # whatever has arrived
    except (HTTPError, OSError) as error:
        raise _BrokenOffError(reason(error)) from None


def _write(file: IO[bytes], block: bytes, part: Path) -> None:
    try:
        while block:
            block = block[file.write(block) :]
    except OSError as error:
        raise InputError(
            f"{part}: {error.strerror}; make room and run again to go on from here"
        ) from None
