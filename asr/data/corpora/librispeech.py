"""Preparing LibriSpeech: download, verify, unpack and write manifests, part by part."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asr.data.corpora.archives import Archives, is_complete, read_own_summary, unpack
from asr.data.corpora.download import Report
from asr.data.corpora.parts import MIRROR, Corpus
from asr.data.folder import folder_utterances
from asr.data.prepare import read_splits, write_corpus
from asr.data.progress import print_progress
from asr.data.summary import PrepareSummary
from asr.errors import InputError

_ROOT = "LibriSpeech"  # the top folder of every archive


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

    ``parts`` are parts of ``corpus``; None means the usual ones. Archives are at
    ``<mirror>/<resource>/<part>.tar.gz``. ``checksums`` is a list of MD5 sums that replace the
    official ones, for a mirror with its own archives. Archives in ``<out>/archives`` are verified
    and used.

    Complete steps are not repeated: a part with intact manifest and audio, an unpacked part, an
    archive; partial archives are resumed. A part whose audio has changed is reported and prepared
    again. For bad rows and ``strict`` see ``read_splits``.

    Raises:
        InputError: an unknown part, a full disk, or a failure of download, checksum or archive.
    """
    out = Path(out)
    wanted = tuple(dict.fromkeys(parts or corpus.usual_parts))
    for part in wanted:
        if part not in corpus.parts:
            raise InputError(f"{corpus.name} has no part {part}; it has {', '.join(corpus.parts)}")
    summary = read_own_summary(out, corpus.name)
    pending = [part for part in wanted if not is_complete(summary, part, report)]
    if not pending:
        report(f"{out} is complete")
        return summary
    missing = [part for part in pending if not _folder(out, part).is_dir()]
    archives = Archives(corpus, out / "archives", mirror, checksums)
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


def _unpack_part(archive: Path, out: Path, part: str, report: Report) -> None:
    """Unpack a part; its folder appears in one step, once it is complete."""
    folder = out / f".{part}.unpacking"
    unpack(archive, folder, report)
    unpacked = folder / _ROOT / part
    if not unpacked.is_dir():
        shutil.rmtree(folder)
        raise InputError(f"{archive}: holds no {_ROOT}/{part}; the archive is not used")
    (out / _ROOT).mkdir(exist_ok=True)
    for file in (folder / _ROOT).iterdir():  # readme, licence, speakers: equal in all archives
        if file.is_file():
            file.replace(out / _ROOT / file.name)
    unpacked.rename(_folder(out, part))
    shutil.rmtree(folder)


def _prepare_part(
    summary: PrepareSummary, part: str, strict: bool, num_jobs: int, report: Report
) -> PrepareSummary:
    folder = _folder(summary.out, part)
    report(f"reading {part}")
    by_split, skipped = read_splits(
        folder_utterances(folder),
        summary.out,
        source=str(folder),
        strict=strict,
        num_jobs=num_jobs,
        report=report,
    )
    others = [row for row in summary.skipped if not row.where.startswith(f"{folder}/")]
    return write_corpus(
        replace(summary, skipped=(*others, *skipped)), by_split, report=lambda _: None
    )


def _folder(out: Path, part: str) -> Path:
    return out / _ROOT / part
