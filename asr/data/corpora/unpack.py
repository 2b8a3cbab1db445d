"""Archives into folders, and nowhere else."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from asr.data.progress import Meter
from asr.types import InputError

_BLOCK_BYTES = 1 << 20
_DAMAGED = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(FileExistsError, IsADirectoryError, NotADirectoryError),  # one name for a file and a folder
)


def unpack(archive: Path, folder: Path, report: Callable[[str], None]) -> None:
    """Write the files of a ``.tar.gz`` below ``folder``, which is emptied first.

    Only folders and plain files are taken, and of these names and contents alone: no owner, mode,
    link or device. Where anything is wrong, ``folder`` is removed.

    Raises:
        InputError: the archive is damaged; or a member is absolute, leads out by ``..``, or is a
            link or a device. The message names it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with (
            archive.open("rb") as packed,
            gzip.open(packed) as unzipped,  # unlike tarfile's own, it checks the sum of the content
            tarfile.open(fileobj=unzipped, mode="r|") as tar,
            Meter(f"unpacking {archive.name}", archive.stat().st_size, report) as meter,
        ):
            for member in tar:
                _write_member(tar, member, archive, folder)
                meter(packed.tell())
            while unzipped.read(_BLOCK_BYTES):  # to the end, where that sum stands
                pass
    except _DAMAGED as error:
        shutil.rmtree(folder)
        raise InputError(f"{archive}: damaged archive ({error}); delete it and run again") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path, folder: Path
) -> None:
    reason = _reason_to_refuse(member)
    if reason:
        raise InputError(f"{archive}: member {member.name!r} {reason}; the archive is not used")
    path = folder / member.name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None, "a plain file has content"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # names a full disk


def _reason_to_refuse(member: tarfile.TarInfo) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or PureWindowsPath(member.name).drive:
        return "has an absolute name"
    if ".." in name.parts:
        return "leads out of the folder by '..'"
    if "\0" in member.name:
        return "has a null byte in its name"
    if not (member.isfile() or member.isdir()):
        return "is a link or a device; only files and folders are allowed"
    return ""
