"""Archives into folders, and nowhere else."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from asr.data.progress import Meter, size_text
from asr.types import InputError

_BLOCK_BYTES = 1 << 20
_MOST_TIMES = 20  # audio packs to half its size; what grows more is no corpus
_SPARE_BYTES = 1 << 30
_DAMAGED = (
    *(tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError),
    *(FileExistsError, IsADirectoryError, NotADirectoryError),  # one name for a file and a folder
)


def unpack(archive: Path, folder: Path, report: Callable[[str], None]) -> None:
    """Write the files of a ``.tar.gz`` or ``.zip`` below ``folder``, which is emptied first.

    Only folders and plain files are taken, and of these names and contents alone: no owner, mode,
    link or device. Where anything is wrong, ``folder`` is removed. The filters of tarfile and
    zipfile mend wrong names in silence; here they are errors.

    Raises:
        InputError: the archive is damaged; a member is absolute, leads out by ``..``, or is a
            link or a device; or the contents are more than 20 times the archive and a gigabyte.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with Meter(f"unpacking {archive.name}", archive.stat().st_size, report) as meter:
            if archive.suffix == ".zip":
                _unpack_zip(archive, folder, meter)
            else:
                _unpack_tar(archive, folder, meter)
    except _DAMAGED as error:
        shutil.rmtree(folder)
        raise InputError(f"{archive}: damaged archive ({error}); delete it and run again") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack_tar(archive: Path, folder: Path, meter: Meter) -> None:
    with (
        archive.open("rb") as packed,
        gzip.open(packed) as unzipped,  # unlike tarfile's own, it checks the sum of the content
        tarfile.open(fileobj=unzipped, mode="r|") as tar,
    ):
        num_bytes = 0
        for member in tar:
            is_plain = member.isfile() or member.isdir()
            _check_member(archive, member.name, is_plain)
            num_bytes += member.size
            _check_size(archive, num_bytes)
            if member.isdir():
                (folder / member.name).mkdir(parents=True, exist_ok=True)
            else:
                content = tar.extractfile(member)
                assert content is not None, "a plain file has content"
                _write(content, folder / member.name)
            meter(packed.tell())
        while unzipped.read(_BLOCK_BYTES):  # to the end, where that sum stands
            pass


def _unpack_zip(archive: Path, folder: Path, meter: Meter) -> None:
    num_bytes = 0
    with zipfile.ZipFile(archive) as packed:
        _check_size(archive, sum(member.file_size for member in packed.infolist()))
        for member in packed.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the packer says nothing of it
            _check_member(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if member.is_dir():
                (folder / member.filename).mkdir(parents=True, exist_ok=True)
            else:
                with packed.open(member) as content:  # checks its sum
                    _write(content, folder / member.filename)
            num_bytes += member.compress_size
            meter(num_bytes)


def _check_member(archive: Path, name: str, is_plain: bool) -> None:
    reason = _reason_to_refuse(name, is_plain)
    if reason:
        raise InputError(f"{archive}: member {name!r} {reason}; the archive is not used")


def _check_size(archive: Path, num_bytes: int) -> None:
    most = _MOST_TIMES * archive.stat().st_size + _SPARE_BYTES
    if num_bytes > most:
        raise InputError(
            f"{archive}: unpacks to over {size_text(most)}, which no corpus of this size does; "
            "the archive is not used"
        )


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # names a full disk


def _reason_to_refuse(member: str, is_plain: bool) -> str:
    name = PurePosixPath(member)
    if name.is_absolute() or PureWindowsPath(member).drive:
        return "has an absolute name"
    if ".." in name.parts:
        return "leads out of the folder by '..'"
    if "\0" in member:
        return "has a null byte in its name"
    if not is_plain:
        return "is a link or a device; only files and folders are allowed"
    return ""
