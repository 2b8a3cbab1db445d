"""The log file of a run, with everything that it prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from asr.errors import InputError, RunError

LOG_FILE = "train.log"


@contextmanager
def logged(folder: Path, command: str, begun: Path) -> Iterator[None]:
    """Copy all output of the block, and the error that ends it, to the log in ``folder``.

    Nothing is written before the file ``begun`` exists, so a refused run leaves no files. If
    standard error already is the log, as in `asr compare`, nothing changes.
    """
    path = folder / LOG_FILE
    if _is_standard_error(path):
        yield
        return
    log = _Log(path, begun)
    log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}  {command}\n")
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tee(out, log), _Tee(err, log)
    try:
        yield
    except (InputError, RunError) as error:
        log.write(f"error: {error}\n")
        raise
    except KeyboardInterrupt:
        log.write("interrupted\n")
        raise
    finally:
        sys.stdout, sys.stderr = out, err


class _Log:
    """A log file to which several processes can append, since only whole lines are written."""

    def __init__(self, path: Path, begun: Path) -> None:
        self._path = path
        self._begun = begun
        self._waiting = ""

    def write(self, text: str) -> None:
        """Write text; for a line redrawn by a progress bar, write only the last state."""
        *lines, rest = (self._waiting + text).split("\n")
        if not self._begun.is_file():
            self._waiting += text
            return
        self._waiting = rest.rpartition("\r")[2] if not rest.endswith("\r") else rest
        if not lines:
            return
        kept = "".join(f"{line.rstrip().rpartition(chr(13))[2]}\n" for line in lines)
        with (
            suppress(OSError),  # a full disk is reported by more important writes
            self._path.open("a", encoding="utf-8", errors="replace") as file,
        ):
            file.write(kept)


class _Tee:
    """A stream that also writes to a log."""

    def __init__(self, stream: TextIO, log: _Log) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        """Write to both."""
        self._log.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _is_standard_error(path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), path.stat())
    except (OSError, ValueError, AttributeError):
        return False
