"""LibriSpeech from its archives: download, check, unpack, write manifests; part after part."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from asr.data.changed import find_changed
from asr.data.corpora.checksum import md5_of, read_md5_list
from asr.data.corpora.disk import check_disk
from asr.data.corpora.download import download, offered_num_bytes
from asr.data.corpora.parts import MIRROR, Corpus
from asr.data.corpora.unpack import unpack
from asr.data.folder import folder_rows
from asr.data.prepare import report_rows, write_splits
from asr.data.progress import print_progress
from asr.data.summary import PrepareSummary, read_summary, write_summary
from asr.types import InputError

_ROOT = "LibriSpeech"  # what every archive unpacks to
_UNPACKED_SHARE = 1.1  # of an archive: FLAC hardly shrinks, and small files fill whole blocks

Report = Callable[[str], None]


def prepare_librispeech(
    corpus: Corpus,
    out: str | Path,
    *,
    parts: Sequence[str] | None = None,
    mirror: str = MIRROR,
    checksums: str | Path | None = None,
    keep_archives: bool = False,
    strict: bool = False,
    num_jobs: int = 1,
    report: Report = print_progress,
) -> PrepareSummary:
    """Write ``<out>/LibriSpeech/<part>/…``, ``<out>/<part>.jsonl.gz`` and ``<out>/summary.json``.

    ``parts`` are those of ``corpus``, None for the usual ones. ``mirror`` stands before
    ``/<resource>/<part>.tar.gz``. ``checksums`` names a list of MD5 sums to check by in place of
    the official ones, for a mirror with archives of its own. Archives that lie in
    ``<out>/archives`` are checked and used.

    What is complete is left as it is: a part with manifest and audio as they were written, a part
    that is unpacked, an archive, the beginning of an archive. A part whose audio has changed since
    is named and prepared again. For bad rows and ``strict`` see ``write_splits``.

    Raises:
        InputError: an unknown part, no room, or what download, checksum and archive can raise.
    """
    out = Path(out)
    wanted = tuple(dict.fromkeys(parts or corpus.usual_parts))
    for part in wanted:
        if part not in corpus.parts:
            raise InputError(f"{corpus.name} has no part {part}; it has {', '.join(corpus.parts)}")
    summary = _read_summary(out, corpus.name)
    pending = [part for part in wanted if not _is_complete(summary, part, report)]
    if not pending:
        report(f"{out} is complete")
        return summary
    missing = [part for part in pending if not _folder(out, part).is_dir()]
    archives = _Archives(corpus, out / "archives", mirror, checksums)
    if missing:
        archives.check_disk(missing, keep_archives, report)
    for part in pending:
        if part in missing:
            _unpack_part(archives.fetch(part, report), out, part, report)
            archives.drop(part, keep_archives)
        summary = _prepare_part(summary, part, strict, num_jobs, report)
    for line in summary.lines():
        report(line)
    return summary


class _Archives:
    """Archives of a corpus in a folder, from a mirror."""

    def __init__(
        self, corpus: Corpus, folder: Path, mirror: str, checksums: str | Path | None
    ) -> None:
        self._corpus = corpus
        self._folder = folder
        self._mirror = mirror.rstrip("/")
        self._sizes: dict[str, int | None] = {}
        if checksums is None:
            self._sums = {f"{part}.tar.gz": one.md5 for part, one in corpus.parts.items()}
            self._sizes.update((part, one.num_bytes) for part, one in corpus.parts.items())
        else:
            self._sums = read_md5_list(Path(checksums))

    def check_disk(self, parts: Sequence[str], keep: bool, report: Report) -> None:
        """Room for ``parts``, beside what has already arrived of them."""
        sizes = {part: self._num_bytes(part) or 0 for part in parts}
        here = sum(
            file.stat().st_size
            for part in parts
            for file in (self._path(part), self._path(part).with_suffix(".gz.part"))
            if file.is_file()
        )
        packed = sum(sizes.values()) if keep else max(sizes.values())
        unpacked = _UNPACKED_SHARE * sum(sizes.values())
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
            raise InputError(f"no MD5 sum for {path.name}; --checksums must name it")
        expected = self._sums[path.name]
        if not path.is_file():
            size = self._num_bytes(part)
            download(self._url(part), path, md5=expected, num_bytes=size, report=report)
        elif (found := md5_of(path, report)) != expected:
            raise InputError(
                f"{path}: MD5 sum is {found}, expected {expected}; delete it to download it again"
            )
        return path

    def drop(self, part: str, keep: bool) -> None:
        """Remove an archive that is unpacked, unless it is to be kept."""
        if keep:
            return
        self._path(part).unlink()
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, part: str) -> Path:
        return self._folder / f"{part}.tar.gz"

    def _url(self, part: str) -> str:
        return f"{self._mirror}/{self._corpus.resource}/{part}.tar.gz"

    def _num_bytes(self, part: str) -> int | None:
        if part not in self._sizes:
            path = self._path(part)
            self._sizes[part] = (
                path.stat().st_size if path.is_file() else offered_num_bytes(self._url(part))
            )
        return self._sizes[part]


def _read_summary(out: Path, name: str) -> PrepareSummary:
    """What is known of ``out``, which may be nothing; never mixes corpora."""
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


def _is_complete(summary: PrepareSummary, part: str, report: Report) -> bool:
    """Whether manifest and audio of a part are as they were written; says what is not."""
    split = summary.splits.get(part)
    if split is None:
        return False
    if not split.is_intact:
        report(f"{split.manifest} is not as it was written; preparing {part} again")
        return False
    changed = find_changed(split.manifest)
    if changed:
        report(f"{part}: {len(changed):,} files changed after it was prepared; preparing it again")
        report_rows("changed", changed, report)
    return not changed


def _unpack_part(archive: Path, out: Path, part: str, report: Report) -> None:
    """The part's folder appears in one step, when all of it is there."""
    folder = out / f".{part}.unpacking"
    unpack(archive, folder, report)
    unpacked = folder / _ROOT / part
    if not unpacked.is_dir():
        shutil.rmtree(folder)
        raise InputError(f"{archive}: holds no {_ROOT}/{part}; the archive is not used")
    (out / _ROOT).mkdir(exist_ok=True)
    for file in (folder / _ROOT).iterdir():  # readme, licence, speakers: the same in every archive
        if file.is_file():
            file.replace(out / _ROOT / file.name)
    unpacked.rename(_folder(out, part))
    shutil.rmtree(folder)


def _prepare_part(
    summary: PrepareSummary, part: str, strict: bool, num_jobs: int, report: Report
) -> PrepareSummary:
    folder = _folder(summary.out, part)
    report(f"reading {part}")
    splits, skipped = write_splits(
        folder_rows(folder),
        summary.out,
        source=str(folder),
        strict=strict,
        num_jobs=num_jobs,
        report=report,
    )
    others = [row for row in summary.skipped if not row.where.startswith(f"{folder}/")]
    summary = PrepareSummary(
        summary.out,
        dict(sorted({**summary.splits, **splits}.items())),
        (*others, *skipped),
        summary.settings,
    )
    write_summary(summary)
    return summary


def _folder(out: Path, part: str) -> Path:
    return out / _ROOT / part
