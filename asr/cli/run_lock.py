"""A lock that allows one run at a time in a run folder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from asr.errors import InputError

LOCK_FILE = ".lock"
_HELD = (errno.EACCES, errno.EAGAIN)
_NUM_TRIES = 3
_PAUSE_S = 0.1


@contextmanager
def locked(folder: Path, *, num_tries: int = _NUM_TRIES) -> Iterator[None]:
    """Lock ``folder`` against other runs while the block runs; create it if necessary.

    The lock is a POSIX lock (``lockf``): the system releases it when this process ends in any way,
    data workers do not inherit it, and NFS shares it between machines. On a file system without
    locks, a warning is printed and the block runs without one.

    Raises:
        InputError: another process holds the lock; the message names it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    descriptor = _acquire(path, num_tries=num_tries)
    try:
        yield
    finally:
        # Delete before unlocking: other processes then create a new file.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        if is_new:
            with suppress(OSError):  # usually not empty
                folder.rmdir()


def check_free(folder: Path) -> None:
    """Raise InputError if a run is active in ``folder``."""
    path = folder / LOCK_FILE
    if path.is_file():
        os.close(_acquire(path, announce=False))


def _acquire(path: Path, *, announce: bool = True, num_tries: int = _NUM_TRIES) -> int:
    """Lock ``path`` and return its file descriptor."""
    for _ in range(num_tries):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                reason = os.strerror(error.errno or 0)
                print(f"{path} cannot be locked ({reason}): start no second run", file=sys.stderr)
                return descriptor
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            time.sleep(_PAUSE_S)  # a process that only checks the lock has finished by then
            continue
        if _is_same_file(path, descriptor):
            if announce:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _describe_this_process().encode(), 0)
            return descriptor
        os.close(descriptor)  # the run that held the lock has just ended and deleted the file
        holder = ""
    raise InputError(
        f"{path.parent}: a run is going on there ({holder or 'another process'}); wait for its "
        "end, or choose another --run-dir"
    )


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _describe_this_process() -> str:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {since}"
