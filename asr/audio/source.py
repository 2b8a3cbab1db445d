"""Random access to the bytes of a recording (file, pipe, memory), and virtual files from them."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

from asr.errors import InputError, RunError, printable

STDIN = Path("/dev/stdin")
_STDIN_NAMES = (str(STDIN), "/dev/fd/0", "/proc/self/fd/0")

_WRITER_WAIT_S = 10.0  # for somebody to open a named pipe for writing
_DATA_WAIT_S = 60.0  # for the next piece of data
_POLL_S = 1.0
_PIPE_NUM_BYTES = 8 << 30
_COPY_NUM_BYTES = 1 << 20
_HOLE_NUM_BYTES = 64 << 20  # a gap this large in a sparse file was never written


class Extent(NamedTuple):
    """Bytes ``start`` to ``stop`` of a source."""

    start: int
    stop: int


SourcePart: TypeAlias = Extent | bytes
"""A piece of a virtual file: an extent of the source, or other bytes."""


@dataclass(frozen=True)
class ByteSource:
    """Random access to ``size`` bytes; messages call them ``name``.

    ``file`` is set if libsndfile can open the file itself. ``identity`` changes with the file; None
    means that results must not be cached. ``damage`` describes what is missing.
    """

    name: str
    size: int
    read_at: Callable[[int, int], bytes]
    file: int | None = None
    identity: tuple[object, ...] | None = None
    damage: str = ""


@contextmanager
def open_source(path: Path) -> Iterator[ByteSource]:
    """Open a file; a pipe is copied to a temporary file first.

    Raises:
        InputError: missing, not readable, a folder or a device, or a pipe that nobody writes to.
        RunError: the disk of temporary files is full.
    """
    name = printable(path)
    try:
        descriptor = _open(path)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                yield _file_source(path, name, descriptor, status)
            else:
                _check_kind(name, descriptor, status.st_mode)
                with tempfile.TemporaryFile() as copy:
                    _copy_pipe(name, descriptor, copy, is_named=stat.S_ISFIFO(status.st_mode))
                    size = copy.tell()
                    copy.flush()
                    yield ByteSource(name, size, _reader(copy.fileno()))
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such audio file") from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise InputError(f"{name}: is a socket; give an audio file or a pipe") from error
        raise InputError(f"{name}: cannot be opened ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: no file can have this name ({error})") from error


def memory_source(data: bytes, name: str) -> ByteSource:
    """Return a source for the bytes of a file in memory."""
    return ByteSource(name, len(data), lambda offset, size: data[offset : offset + size])


def file_source(file: IO[bytes], name: str) -> ByteSource:
    """Return a source for an open file; the file closes with the last use of the source."""
    read = _reader(file.fileno())

    def read_at(offset: int, size: int) -> bytes:
        assert not file.closed
        return read(offset, size)

    return ByteSource(name, os.fstat(file.fileno()).st_size, read_at, file.fileno())


class VirtualFile(io.RawIOBase):
    """A read-only file made of consecutive pieces."""

    def __init__(self, source: ByteSource, pieces: Sequence[SourcePart]) -> None:
        super().__init__()
        self._source = source
        self._pieces: list[tuple[int, SourcePart]] = []
        self._size = 0
        for piece in pieces:
            self._pieces.append((self._size, piece))
            self._size += _length(piece)
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, which may be after the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read from one piece into ``buffer``; nothing if the disk cannot be read.

        The caller is C code of libsndfile, which cannot pass on exceptions.
        """
        for start, piece in self._pieces[self._index() :]:
            low = self._at - start
            high = min(_length(piece), low + len(buffer))
            if low >= high:
                continue
            if isinstance(piece, bytes):
                part = piece[low:high]
            else:
                try:
                    part = self._source.read_at(piece.start + low, high - low)
                except OSError:
                    part = b""
            buffer[: len(part)] = part
            self._at += len(part)
            return len(part)
        return 0

    def _index(self) -> int:
        """Return the index of the piece at the position."""
        return max(0, bisect_right(self._pieces, self._at, key=lambda piece: piece[0]) - 1)


def _length(piece: SourcePart) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.stop - piece.start


def _open(path: Path) -> int:
    """Open a descriptor; without O_NONBLOCK a named pipe would wait forever for a writer."""
    if str(path) in _STDIN_NAMES:
        try:
            return os.dup(0)
        except OSError as error:
            raise InputError(f"{path}: standard input is closed") from error
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _check_kind(name: str, descriptor: int, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise InputError(f"{name}: is a folder; give an audio file")
    if os.isatty(descriptor):
        raise InputError(f"{name}: is a terminal; give a file, or pipe audio into the command")
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise InputError(f"{name}: is a device; give an audio file or a pipe")


def _file_source(path: Path, name: str, descriptor: int, status: os.stat_result) -> ByteSource:
    read_at = _reader(descriptor)
    if str(path) in _STDIN_NAMES:  # other programs may move its position
        return ByteSource(name, status.st_size, read_at)
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    hole = _first_hole(descriptor, status)
    if hole is None:
        return ByteSource(name, status.st_size, read_at, descriptor, identity)
    gap_mb = (hole.stop - hole.start) / 1e6
    return ByteSource(
        name,
        hole.start,
        read_at,
        identity=identity,
        damage=f"the file has a gap of {gap_mb:,.0f} MB that was never written (a copy or a "
        "download was cut off?); the audio after it is left out",
    )


def _reader(descriptor: int) -> Callable[[int, int], bytes]:
    def read_at(offset: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(descriptor, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    return read_at


def _first_hole(descriptor: int, status: os.stat_result) -> Extent | None:
    """Return the first large gap of a sparse file."""
    on_disk = getattr(status, "st_blocks", status.st_size) * 512
    if status.st_size - on_disk < _HOLE_NUM_BYTES or not hasattr(os, "SEEK_HOLE"):
        return None
    at = 0
    while at < status.st_size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_HOLE)
        except OSError:
            break
        try:
            stop = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError:  # no data behind it
            stop = status.st_size
        if stop - start >= _HOLE_NUM_BYTES:
            os.lseek(descriptor, 0, os.SEEK_SET)
            return Extent(start, stop)
        at = max(stop, at + 1)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return None


def _copy_pipe(name: str, descriptor: int, copy: IO[bytes], *, is_named: bool) -> None:
    num_bytes = 0
    while piece := _read_pipe(name, descriptor, is_named=is_named and not num_bytes):
        num_bytes += len(piece)
        if num_bytes > _PIPE_NUM_BYTES:
            raise InputError(
                f"{name}: more than {_PIPE_NUM_BYTES >> 30} GiB from a pipe; give it as a file"
            )
        try:
            copy.write(piece)
        except OSError as error:
            raise RunError(
                f"{name}: the pipe cannot be copied to {tempfile.gettempdir()} ({error.strerror}); "
                "make room there, or set TMPDIR"
            ) from error


def _read_pipe(name: str, descriptor: int, *, is_named: bool) -> bytes:
    """Read the next bytes; empty at the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    began_s = time.monotonic()
    while True:
        is_ready = bool(poll.poll(_POLL_S * 1000))
        waited_s = time.monotonic() - began_s
        has_writer = True
        if is_ready or is_named:
            try:
                piece = os.read(descriptor, _COPY_NUM_BYTES)
            except BlockingIOError:  # a writer has it open but has written nothing yet
                pass
            else:
                if piece or is_ready:
                    return piece
                has_writer = False
        if not has_writer and waited_s > _WRITER_WAIT_S:
            raise InputError(
                f"{name}: is a pipe that nobody writes to (waited {_WRITER_WAIT_S:g} s)"
            )
        if waited_s > _DATA_WAIT_S:
            raise InputError(f"{name}: no data came through the pipe for {_DATA_WAIT_S:g} s")
