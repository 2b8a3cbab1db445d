"""Files from the web that arrive whole: resumed where they broke off, checked by their sum.

What has arrived lies in ``<file>.part`` until its sum is right. Proxies are those of the
environment (``https_proxy``, ``no_proxy``).
"""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import asr
from asr.data.corpora.checksum import mismatch
from asr.data.progress import Meter, size_text
from asr.types import InputError

PAUSES_S = (1.0, 2.0, 5.0, 15.0, 30.0)  # after failures without a byte in between; then it is over
_TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 18
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP answers that may be others in a minute
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Report = Callable[[str], None]


class _BrokenOffError(Exception):
    """The connection failed; it may work again."""


def download(
    url: str, path: Path, *, checksum: str, num_bytes: int | None = None, report: Report
) -> None:
    """Make ``path`` the file at ``url``, going on from ``<path>.part`` where that is there.

    ``checksum`` is its MD5 or SHA-256 sum in hexadecimal; ``num_bytes`` is the size that is
    expected, None where it is not known. A partial file from an earlier run that leads to a wrong
    sum is thrown away once.

    Raises:
        InputError: the address is wrong, the server keeps failing, or size or sum is not the
            expected one. Then ``path`` does not appear; what has arrived of a right file is kept.
    """
    if not re.match(r"https?://", url):
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
    """Where the beginning of ``path`` lies until all of it has arrived."""
    return path.with_name(f"{path.name}.part")


def offered_num_bytes(url: str) -> int | None:
    """The size of the file at ``url`` as its server says it, None where it does not."""
    request = _request(url, 0, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return _length(response)
    except (OSError, http.client.HTTPException):
        return None


@contextmanager
def _opened(part: Path) -> Iterator[IO[bytes]]:
    """The partial file, for this process alone."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{part} is being downloaded by another process") from None
        yield file


def _fetch(url: str, file: IO[bytes], part: Path, num_bytes: int | None, report: Report) -> bool:
    """Fill ``file`` up; whether bytes from before were kept."""
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
    """One request, to the end of the file; how many bytes from before it built on."""
    start = file.tell()
    try:
        response = urllib.request.urlopen(_request(url, start), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _past_the_end(error, file)
        if error.code in _PASSING:
            raise _BrokenOffError(f"{error.code} {error.reason}") from None
        raise InputError(f"{url}: {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_reason(error)) from None
    with response:
        if start and not _continues(response, start):
            report(f"{part.name}: the server does not resume; starting anew")
            file.truncate(0)
            start = file.seek(0)
        length = _length(response)
        total = None if length is None else start + length
        if None not in (total, num_bytes) and total != num_bytes:
            raise InputError(f"{url}: has {total:,} bytes, expected {num_bytes:,}; not used")
        with Meter(part.stem, total, report, start_num_bytes=start) as meter:
            while block := _read(response):
                _write(file, block, part)
                meter(file.tell())
    if total is not None and file.tell() < total:
        raise _BrokenOffError(f"broken off after {size_text(file.tell())} of {size_text(total)}")
    return start


def _request(url: str, start: int, method: str = "GET") -> urllib.request.Request:
    headers = {"User-Agent": f"encore-asr/{asr.__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return urllib.request.Request(url, headers=headers, method=method)


def _continues(response: Any, start: int) -> bool:
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    return response.status == http.HTTPStatus.PARTIAL_CONTENT and (
        match is not None and int(match[1]) == start
    )


def _past_the_end(error: urllib.error.HTTPError, file: IO[bytes]) -> int:
    """Nothing follows what is there: either all of it is there, or it is of another file."""
    size = file.tell()
    if error.headers.get("Content-Range", "") == f"bytes */{size}":
        return size
    file.truncate(0)
    raise _BrokenOffError("the partial file is longer than the whole")


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _read(response: Any) -> bytes:
    try:
        block: bytes = response.read1(_BLOCK_BYTES)  # what has come, however little
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_reason(error)) from None
    return block


def _write(file: IO[bytes], block: bytes, part: Path) -> None:
    try:
        while block:
            block = block[file.write(block) :]
    except OSError as error:
        raise InputError(
            f"{part}: {error.strerror}; make room and run again to go on from here"
        ) from None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
