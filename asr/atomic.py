"""Files and folders that are there whole or not at all, and files that are read whole."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from asr.types import InputError, RunError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_PARTIAL = ".partial"
_LONGEST_NAME = 255  # bytes, of most file systems


def open_file(path: Path) -> BinaryIO:
    """Open a file, or a link to one, for reading; never waits for the other end of a pipe.

    Raises:
        InputError: it cannot be read, or is a folder, a pipe or a device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: not a file but a folder, a pipe or a device")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, *, most: int) -> bytes:
    """A whole file of at most ``most`` bytes; InputError for a larger one, or see `open_file`."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(most + 1)
    if max(size, len(data)) > most:
        raise InputError(f"{path}: {size:,} bytes; allowed: up to {most:,}")
    return data


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` in UTF-8 as :func:`write_bytes` does; lone surrogates stand as escapes."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def fitting_name(stem: str, ending: str) -> str:
    """``stem`` and ``ending``; a stem too long for a file name is cut, a digest of it behind."""
    name = os.fsencode(stem) + os.fsencode(ending)
    if len(name) <= _LONGEST_NAME:
        return stem + ending
    mark = f"~{_digest(stem)}{ending}"
    kept = os.fsencode(stem)[: _LONGEST_NAME - len(os.fsencode(mark))]
    while kept and kept[-1] & 0xC0 == 0x80:  # not within a character
        kept = kept[:-1]
    kept = kept[:-1] if kept and kept[-1] & 0xC0 == 0xC0 else kept
    return os.fsdecode(kept) + mark


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step, replacing what was there; makes missing folders.

    A device or a pipe is written to as it is. Raises as :func:`replacing` does.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)
        return
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A path beside ``path`` to write a file or a folder at; it takes the place of ``path``.

    It does so when the block ends, once all of it is on the disk. Where the block raises, or the
    process is killed, whatever was at ``path`` is still there. A folder that is replaced loses the
    files the new one does not have; between its going and the new one's coming there is none.

    Raises:
        InputError: ``path`` cannot be written.
        RunError: the disk is full; says how much space is left.
    """
    path = Path(os.path.realpath(path))
    beside = f".{_digest(path.name)}.{os.getpid()}"  # however long the name is
    partial = path.with_name(f"{beside}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for written in [*partial.rglob("*"), partial]:
            _to_disk(written)
        if partial.is_dir() and path.is_dir():
            old = path.with_name(f"{beside}.old{_PARTIAL}")
            path.rename(old)
            partial.rename(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
        _to_disk(path.parent)
    except (OSError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        if reason.errno in NO_SPACE:
            _remove(partial)  # it takes up what is left
            raise RunError(f"{path} cannot be written: {no_space(path)}") from error
        raise InputError(f"{path} cannot be written: {reason.strerror or reason}") from error
    finally:
        _remove(partial)


def no_space(path: Path) -> str:
    """What to say where the disk that ``path`` is on is full."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    left_mib = shutil.disk_usage(there).free / 2**20
    return f"no space left on the disk ({left_mib:,.1f} MiB free); make room there"


def clear_partials(folder: Path) -> None:
    """Delete what killed processes left unfinished in ``folder``, which nobody else may write."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        _remove(partial)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def _reason(error: BaseException | None) -> OSError | None:
    """The failing system call behind ``error``: `torch.save` hides it in the context."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
