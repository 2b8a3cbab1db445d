"""Preparing corpora of noises and room impulse responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from asr.data.corpora.archives import Archives, is_complete, read_own_summary, unpack_whole
from asr.data.corpora.parts import MIRROR, Sounds
from asr.data.prepare import RawUtterance, read_splits, write_corpus
from asr.data.progress import print_progress
from asr.data.summary import PrepareSummary


def prepare_sounds(
    sounds: Sounds,
    out: str | Path,
    *,
    mirror: str = MIRROR,
    checksums: str | Path | None = None,
    keep_archives: bool = False,
    strict: bool = False,
    num_jobs: int = 1,
    report: Callable[[str], None] = print_progress,
) -> PrepareSummary:
    """Write ``<out>/<root>/…``, a manifest for each part of ``sounds``, and ``summary.json``.

    The manifests hold utterances without words. Complete steps are not repeated; for ``mirror``,
    ``checksums``, bad files and ``strict`` see ``prepare_librispeech``.

    Raises:
        InputError: a full disk, or a failure of download, checksum or archive.
    """
    out = Path(out)
    summary = read_own_summary(out, sounds.name)
    if all(is_complete(summary, part, report) for part in sounds.patterns):
        report(f"{out} is complete")
        return summary
    root = out / sounds.root
    if not root.is_dir():
        (part,) = sounds.corpus.parts
        archives = Archives(sounds.corpus, out / "archives", mirror, checksums)
        unpack_whole(archives, part, root, keep=keep_archives, report=report)
    report(f"reading {root}")
    rows = [
        RawUtterance(
            str(file), file.relative_to(root).with_suffix("").as_posix(), file, "", split=part
        )
        for part, pattern in sounds.patterns.items()
        for file in sorted(root.glob(pattern))
    ]
    by_split, skipped = read_splits(
        rows,
        out,
        source=str(root),
        strict=strict,
        num_jobs=num_jobs,
        report=report,
        has_words=False,
    )
    return write_corpus(
        replace(summary, splits={}, skipped=tuple(skipped)), by_split, report=report
    )
