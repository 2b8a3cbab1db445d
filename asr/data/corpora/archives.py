"""Archives of a corpus: from a mirror into a folder, checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from asr.data.corpora.checksum import mismatch, read_sums
from asr.data.corpora.disk import check_disk
from asr.data.corpora.download import download, offered_num_bytes, partial_path
from asr.data.corpora.parts import Corpus
from asr.data.corpora.unpack import unpack
from asr.types import InputError

Report = Callable[[str], None]


class Archives:
    """Archives of a corpus in a folder, from a mirror."""

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
        """Room for ``parts``, beside what has already arrived of them."""
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
        """The archive of ``part``, its sum checked."""
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
        """Remove an archive that is unpacked, unless it is to be kept."""
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
    """Make ``root`` the folder of that name in an archive, in one step, when all of it is there."""
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
