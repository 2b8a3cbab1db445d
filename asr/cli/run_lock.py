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
    """Keep other runs out of ``folder``, which is made if need be, while the block runs.

    The lock is one of POSIX (``lockf``): the system drops it when this process ends, however it
    ends; data workers do not inherit it; and NFS shares it between machines. Where a file system
    has no locks, a line says so and the block runs without.

    Raises:
        InputError: another process holds the lock; says which.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    descriptor = _acquire(path, num_tries=num_tries)
    try:
        yield
    finally:
        # Gone before it is unlocked: whoever opens it from now on makes a new one.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        if is_new:
            with suppress(OSError):  # not empty, as it should be
                folder.rmdir()


def check_free(folder: Path) -> None:
    """Raise InputError where a run is going on in ``folder``."""
    path = folder / LOCK_FILE
    if path.is_file():
        os.close(_acquire(path, announce=False))


def _acquire(path: Path, *, announce: bool = True, num_tries: int = _NUM_TRIES) -> int:
    """A descriptor of ``path`` that holds the lock."""
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
            time.sleep(_PAUSE_S)  # who only looks whether it is free is gone by then
            continue
        if _is_same_file(path, descriptor):
            if announce:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, _describe_this_process().encode(), 0)
            return descriptor
        os.close(descriptor)  # the run that held it has ended, and deleted it, in between
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
