"""Archives of a corpus: downloading, verifying and unpacking them safely."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from asr.data.check import find_changed
from asr.data.corpora.download import (
    Report,
    download,
    mismatch,
    offered_num_bytes,
    partial_path,
    read_sums,
)
from asr.data.corpora.parts import Corpus
from asr.data.prepare import report_skipped
from asr.data.progress import ByteProgress, size_text
from asr.data.summary import PrepareSummary, read_summary
from asr.errors import InputError


def check_disk(folder: Path, num_bytes: int, what: str, report: Callable[[str], None]) -> None:
    """Report the disk space that ``what`` needs in ``folder``; ``InputError`` if it is too full."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    need = f"{what}: needs {size_text(num_bytes)} of disk in {folder}, {size_text(free)} are free"
    if num_bytes > free:
        raise InputError(f"{need}; make room or name another folder")
    report(need)


def read_own_summary(out: Path, name: str) -> PrepareSummary:
    """Read the summary of an earlier run in ``out``, empty without one; refuse another corpus."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the corpus")
    summary = read_summary(out)
    if summary is None:
        return PrepareSummary(out, {}, (), {"corpus": name})
    if summary.settings.get("corpus") != name:
        raise InputError(
            f"{out} holds {summary.settings.get('corpus')}; name another folder for {name}"
        )
    return summary


def is_complete(summary: PrepareSummary, part: str, report: Report) -> bool:
    """Return whether a part's manifest and audio are unchanged; report changes."""
    split = summary.splits.get(part)
    if split is None:
        return False
    if not split.is_intact:
        report(f"{split.manifest} is not as it was written; preparing {part} again")
        return False
    changed = find_changed(split.manifest)
    if changed:
        report(f"{part}: {len(changed):,} files changed after it was prepared; preparing it again")
        report_skipped("changed", changed, report)
    return not changed


_BLOCK_BYTES = 1 << 20
_MOST_TIMES = 20  # audio shrinks to half at best; a larger ratio is no corpus
_SPARE_BYTES = 1 << 30
_DAMAGED = (
    *(tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError),
    *(FileExistsError, IsADirectoryError, NotADirectoryError),  # one name for a file and a folder
)


def unpack(archive: Path, folder: Path, report: Callable[[str], None]) -> None:
    """Write the files of a ``.tar.gz`` or ``.zip`` below ``folder``, which is emptied first.

    Only folders and plain files are unpacked, without owners and modes. If anything is wrong,
    ``folder`` is removed. Wrong names are errors here; the filters of tarfile and zipfile would
    correct them silently.

    Raises:
        InputError: the archive is damaged; a member is absolute, leads out by ``..``, or is a
            link or a device; or the contents are more than 20 times the archive and a gigabyte.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with ByteProgress(f"unpacking {archive.name}", archive.stat().st_size, report) as progress:
            if archive.suffix == ".zip":
                _unpack_zip(archive, folder, progress)
            else:
                _unpack_tar(archive, folder, progress)
    except _DAMAGED as error:
        shutil.rmtree(folder)
        raise InputError(f"{archive}: damaged archive ({error}); delete it and run again") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack_tar(archive: Path, folder: Path, progress: ByteProgress) -> None:
    with (
        archive.open("rb") as packed,
        gzip.open(packed) as unzipped,  # unlike tarfile's own, it checks the checksum
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
            progress(packed.tell())
        while unzipped.read(_BLOCK_BYTES):  # read to the end, where the checksum is
            pass


def _unpack_zip(archive: Path, folder: Path, progress: ByteProgress) -> None:
    num_bytes = 0
    with zipfile.ZipFile(archive) as packed:
        _check_size(archive, sum(member.file_size for member in packed.infolist()))
        for member in packed.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if the packer did not set it
            _check_member(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if member.is_dir():
                (folder / member.filename).mkdir(parents=True, exist_ok=True)
            else:
                with packed.open(member) as content:  # verifies the checksum
                    _write(content, folder / member.filename)
            num_bytes += member.compress_size
            progress(num_bytes)


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
        raise OSError(error.errno, error.strerror, str(path)) from None  # name the full disk


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


class Archives:
    """The archives of a corpus in a folder, downloaded from a mirror."""

    def __init__(
        self, corpus: Corpus, folder: Path, mirror: str, checksums: str | Path | None
    ) -> None:
        self._corpus = corpus
        self._folder = folder
        self._mirror = mirror.rstrip("/")
        self._sizes: dict[str, int | None] = {}
        if checksums is None:
            self._sums = {one.file_name: one.checksum for one in corpus.parts.values()}
            self._sizes.update(
                (part, one.num_bytes) for part, one in corpus.parts.items() if one.num_bytes
            )
        else:
            self._sums = read_sums(Path(checksums))

    def check_disk(self, parts: Sequence[str], keep: bool, report: Report) -> None:
        """Check the disk space for ``parts``, less what is already downloaded."""
        sizes = {part: self._num_bytes(part) or 0 for part in parts}
        here = sum(
            file.stat().st_size
            for part in parts
            for file in (self._path(part), partial_path(self._path(part)))
            if file.is_file()
        )
        packed = sum(sizes.values()) if keep else max(sizes.values())
        unpacked = self._corpus.unpacked_share * sum(sizes.values())
        check_disk(
            self._folder.parent,
            round(max(0, packed - here) + unpacked),
            f"{self._corpus.name} {', '.join(parts)}",
            report,
        )

    def fetch(self, part: str, report: Report) -> Path:
        """Download the archive of ``part`` and verify its checksum."""
        path = self._path(part)
        if path.name not in self._sums:
            raise InputError(f"no sum for {path.name}; --checksums must name it")
        expected = self._sums[path.name]
        if not path.is_file():
            size = self._num_bytes(part)
            download(self._url(part), path, checksum=expected, num_bytes=size, report=report)
        elif wrong := mismatch(path, expected, report):
            raise InputError(f"{path}: {wrong}; delete it to download it again")
        return path

    def drop(self, part: str, keep: bool) -> None:
        """Remove an unpacked archive unless ``keep``."""
        if keep:
            return
        self._path(part).unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, part: str) -> Path:
        return self._folder / self._corpus.parts[part].file_name

    def _url(self, part: str) -> str:
        resource = self._corpus.resource
        folder = self._mirror if resource is None else f"{self._mirror}/{resource}"
        return f"{folder}/{self._path(part).name}"

    def _num_bytes(self, part: str) -> int | None:
        if part not in self._sizes:
            path = self._path(part)
            self._sizes[part] = (
                path.stat().st_size if path.is_file() else offered_num_bytes(self._url(part))
            )
        return self._sizes[part]


def unpack_whole(archives: Archives, part: str, root: Path, *, keep: bool, report: Report) -> None:
    """Unpack an archive's folder ``root``; it appears in one step, once it is complete."""
    archives.check_disk([part], keep, report)
    archive = archives.fetch(part, report)
    folder = root.parent / f".{root.name}.unpacking"
    unpack(archive, folder, report)
    if not (folder / root.name).is_dir():
        shutil.rmtree(folder)
        raise InputError(f"{archive}: holds no {root.name}; the archive is not used")
    (folder / root.name).rename(root)
    shutil.rmtree(folder)
    archives.drop(part, keep)
