"""Reading strangers' tar archives and PyTorch checkpoints without unpacking or running anything.

Members are read in place. Every size is checked before memory is allocated for it.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import pickle
import tarfile
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

import torch
from torch import Tensor

from asr.errors import InputError
from asr.files import open_file
from asr.ranges import shown

MAX_MEMBERS = 1000
MAX_NAME_BYTES = 1 << 16
MAX_PICKLE_BYTES = 64 << 20
MAX_TENSORS = 60_000
MAX_EXPANSION, MIN_EXPANDED_BYTES = 4, 64 << 20
"""Weights hardly compress: a file that expands to more than this is not a model."""

_BLOCK = 512
_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_NOT_FILES = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


class Member(io.RawIOBase):
    """A part of a file, as a seekable file."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        super().__init__()
        self._file, self._offset, self.size, self._position = file, offset, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position within the part, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to ``offset``, but never outside the part."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = min(max(start + offset, 0), self.size)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` up to the end of the part."""
        view = memoryview(buffer)
        self._file.seek(self._offset + self._position)
        data = self._file.read(min(len(view), self.size - self._position))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def whole(self, most: int, what: str) -> bytes:
        """Return the whole part; InputError if it is larger than ``most`` bytes."""
        if self.size > most:
            raise InputError(f"{what}: {self.size:,} bytes; allowed: up to {most:,}")
        self.seek(0)
        data = self.read(self.size)
        assert data is not None
        return data


@contextmanager
def open_tar(path: Path) -> Iterator[dict[str, Member]]:
    """Return the files in a tar archive, plain or gzipped, by name without a leading ``./``.

    Raises:
        InputError: not such an archive, truncated, more than `MAX_MEMBERS` members, a member that
            is not a
            file or whose name leaves the archive's folder, or one that expands too far.
    """
    with open_file(path) as file:
        start = file.read(2)
        if start != b"\x1f\x8b":
            yield _members(file, os.fstat(file.fileno()).st_size, str(path))
            return
        with tempfile.TemporaryFile() as expanded:
            size = _expand(file, cast(BinaryIO, expanded), str(path))
            yield _members(cast(BinaryIO, expanded), size, str(path))


def _expand(file: BinaryIO, expanded: BinaryIO, where: str) -> int:
    file.seek(0)
    most = max(MIN_EXPANDED_BYTES, MAX_EXPANSION * os.fstat(file.fileno()).st_size)
    size = 0
    try:
        with gzip.GzipFile(fileobj=file) as packed:
            while data := packed.read(1 << 20):
                size += len(data)
                if size > most:
                    raise InputError(
                        f"{where}: expands to more than {most:,} bytes, {MAX_EXPANSION} times its "
                        "size; weights do not shrink that far"
                    )
                expanded.write(data)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: not a gzip file, or cut ({error})") from None
    return size


def _members(file: BinaryIO, file_size: int, where: str) -> dict[str, Member]:
    found: dict[str, Member] = {}
    at, num_members = 0, 0
    extended: dict[str, str] = {}
    while at + _BLOCK <= file_size:
        file.seek(at)
        block = file.read(_BLOCK)
        if not block.strip(b"\0"):
            break  # the end of the archive
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise InputError(f"{where}: not a tar archive, or damaged ({error})") from None
        num_members += 1
        if num_members > MAX_MEMBERS:
            raise InputError(f"{where}: more than {MAX_MEMBERS:,} members; a model has a few")
        size = int(extended.get("size", info.size)) if info.type in _FILE_TYPES else info.size
        data_at = at + _BLOCK
        if size < 0 or data_at + size > file_size:
            raise InputError(f"{where}: cut: {shown(info.name)} goes beyond the end of the file")
        at = data_at + -(-size // _BLOCK) * _BLOCK
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            data = Member(file, data_at, size).whole(MAX_NAME_BYTES, f"{where}: a header")
            extended = _extended(data, info.type, where)
            continue
        name, extended = extended.get("path", info.name), {}
        if info.type in _NOT_FILES:
            raise InputError(f"{where}: {shown(name)} is {_NOT_FILES[info.type]}; files alone")
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts:
            raise InputError(f"{where}: {shown(name)} lies outside the archive")
        if info.type in _FILE_TYPES:
            found["/".join(parts)] = Member(file, data_at, size)
    return found


def _extended(data: bytes, kind: bytes, where: str) -> dict[str, str]:
    """Return the ``path`` and ``size`` that an extended header gives for the next member."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode(errors="surrogateescape")}
    found = {}
    try:
        while data.strip(b"\0"):
            length = int(data[:20].split(b" ", 1)[0])
            key, _, value = data[:length].split(b" ", 1)[1].rstrip(b"\n").partition(b"=")
            if length < 5:
                raise ValueError(length)
            found[key.decode()] = value.decode(errors="surrogateescape")
            data = data[length:]
        if "size" in found:
            int(found["size"])
    except (ValueError, IndexError, UnicodeDecodeError):
        raise InputError(f"{where}: a damaged extended header") from None
    return {key: value for key, value in found.items() if key in ("path", "size")}


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str
    num_values: int


class _Stored(NamedTuple):
    """A tensor that has not been read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Checkpoint:
    """The tensors of a file written by ``torch.save``: names and shapes now, values on demand.

    The pickle inside is read by an interpreter that knows only dictionaries and tensors.

    Raises:
        InputError: another format, code in it, or tensors that the file does not hold.
    """

    def __init__(self, file: Member, where: str) -> None:
        self._where = where
        _check_directory(file, where)
        try:
            self._zip = zipfile.ZipFile(cast(BinaryIO, file))
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise InputError(f"{where}: not a checkpoint of torch.save ({error})") from None
        pickles = [one for one in self._zip.infolist() if one.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(f"{where}: not a checkpoint of torch.save (no data.pkl)")
        self._folder = pickles[0].filename.removesuffix("data.pkl")
        stored = _unpickle(self._record("data.pkl", most=MAX_PICKLE_BYTES), where)
        self._stored = _tensors(stored, where)
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: one.shape for name, one in self._stored.items()
        }

    def _record(self, name: str, *, most: int) -> bytes:
        try:
            info = self._zip.getinfo(self._folder + name)
        except KeyError:
            raise InputError(f"{self._where}: {shown(name)} is missing in it") from None
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
            raise InputError(
                f"{self._where}: {shown(name)}: {info.file_size:,} bytes; allowed: up to {most:,}, "
                "not compressed"
            )
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
            raise InputError(f"{self._where}: {shown(name)}: damaged ({error})") from None

    def read(self, name: str) -> Tensor:
        """Return a tensor in its own dtype; InputError if the file does not hold all of it."""
        one = self._stored[name]
        last = one.offset + sum(
            (size - 1) * stride for size, stride in zip(one.shape, one.strides, strict=True)
        )
        if math.prod(one.shape) and last >= one.storage.num_values:
            raise InputError(f"{self._where}: {shown(name)} goes beyond what is stored of it")
        size = one.storage.num_values * one.storage.dtype.itemsize
        data = self._record(f"data/{one.storage.key}", most=size)
        if len(data) != size:
            raise InputError(
                f"{self._where}: {shown(name)} says {size:,} bytes and holds {len(data):,}"
            )
        if not size:
            return torch.empty(one.shape, dtype=one.storage.dtype)
        values = torch.frombuffer(bytearray(data), dtype=one.storage.dtype)
        return values.as_strided(one.shape, one.strides, one.offset)


def _check_directory(file: Member, where: str) -> None:
    """Raise InputError if a zip file claims more than `MAX_TENSORS` entries."""
    file.seek(max(0, file.size - (1 << 16) - 22))
    tail = file.read()
    assert tail is not None
    at = tail.rfind(b"PK\5\6")
    num_entries = int.from_bytes(tail[at + 10 : at + 12], "little") if at >= 0 else 0
    if num_entries == 0xFFFF:
        wide = tail.rfind(b"PK\6\6")
        num_entries = (
            int.from_bytes(tail[wide + 32 : wide + 40], "little") if wide >= 0 else 1 << 63
        )
    if num_entries > MAX_TENSORS:
        raise InputError(f"{where}: more than {MAX_TENSORS:,} entries; a model has fewer")
    file.seek(0)


def _unpickle(data: bytes, where: str) -> object:
    try:
        return _Reader(io.BytesIO(data)).load()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(f"{where}: not a checkpoint ({type(error).__name__})") from None


class _Reader(pickle.Unpickler):
    """An unpickler that knows only the names that a dictionary of tensors needs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _stored
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise InputError(f"holds code ({shown(f'{module}.{name}')}); tensors alone are read")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, num_values = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isalnum():
            raise InputError("a storage of an unknown kind")
        if not isinstance(num_values, int) or num_values < 0:
            raise InputError("a storage without a size")
        return _Storage(dtype, str(key), num_values)


_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
}


def _stored(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Stored:
    numbers = (offset, *shape, *strides)
    if (
        len(shape) != len(strides)
        or len(shape) > 8
        or not all(isinstance(one, int) and 0 <= one < 1 << 62 for one in numbers)
    ):
        raise InputError("a tensor without a shape")
    return _Stored(storage, offset, tuple(shape), tuple(strides))


def _parameter(data: _Stored, *_: object) -> _Stored:
    return data


def _tensors(stored: object, where: str) -> dict[str, _Stored]:
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]
    if not isinstance(stored, dict) or not stored:
        raise InputError(f"{where}: not a dictionary of tensors")
    return {
        name: one
        for name, one in stored.items()
        if isinstance(name, str) and isinstance(one, _Stored)
    }
