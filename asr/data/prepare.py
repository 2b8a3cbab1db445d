"""From what a corpus says of its utterances to manifests: check, listen, write."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr.atomic import replacing
from asr.data.characters import describe_dropped
from asr.data.holdout import hold_out
from asr.data.listen import listen
from asr.data.manifest import Utterance, manifest_bytes
from asr.data.progress import print_progress
from asr.data.row import Row
from asr.data.summary import (
    FILE_NAME,
    PrepareSummary,
    Skipped,
    describe_split,
    summary_bytes,
)
from asr.types import InputError

NUM_REPORTED = 20  # skipped rows that are reported one by one; summary.json has them all


def prepare_rows(
    items: Iterable[Row | Skipped],
    out: Path,
    *,
    source: str,
    settings: Mapping[str, Any],
    strict: bool = False,
    num_jobs: int = 1,
    report: Callable[[str], None] = print_progress,
) -> PrepareSummary:
    """Write ``<out>/<split>.jsonl.gz`` for each split of ``items`` and ``<out>/summary.json``.

    See ``read_splits``; ``settings`` say in the summary what the corpus was made from.
    """
    by_split, skipped = read_splits(
        items, out, source=source, strict=strict, num_jobs=num_jobs, report=report
    )
    return write_corpus(
        PrepareSummary(out, {}, tuple(skipped), dict(settings)), by_split, report=report
    )


def write_corpus(
    known: PrepareSummary,
    by_split: Mapping[str, Sequence[Utterance]],
    *,
    report: Callable[[str], None],
) -> PrepareSummary:
    """Write a manifest for each split and ``summary.json``, all of them or, where one fails, none.

    ``known`` is the summary but for these splits.
    """
    with ExitStack() as written:
        summary_file = written.enter_context(replacing(known.out / FILE_NAME))
        splits = dict(known.splits)
        for split, utterances in by_split.items():
            manifest = known.out / f"{split}.jsonl.gz"
            partial = written.enter_context(replacing(manifest))
            data = manifest_bytes(utterances, manifest)
            partial.write_bytes(data)
            splits[split] = describe_split(manifest, utterances, data)
        summary = replace(known, splits=dict(sorted(splits.items())) if known.splits else splits)
        summary_file.write_bytes(summary_bytes(summary))
    for line in summary.lines():
        report(line)
    return summary


def read_splits(
    items: Iterable[Row | Skipped],
    out: Path,
    *,
    source: str,
    strict: bool,
    num_jobs: int,
    report: Callable[[str], None],
    has_words: bool = True,
) -> tuple[dict[str, list[Utterance]], list[Skipped]]:
    """The utterances of each split, and the rows that cannot be used; nothing is written.

    Every file is decoded once. A row whose audio is missing, unreadable, empty or not finite, whose
    times make no sense, whose transcript is empty (where the corpus ``has_words``), or whose name
    its split has already is reported, counted and skipped; with ``strict`` it is an ``InputError``
    that names ``source``. So is a corpus without a single usable row, or an ``out`` that is a file.
    Where no row names a split, the corpus is cut 90/5/5.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the manifests")
    rows, skipped = _check(items, has_words)
    usable, unreadable, noticed = listen(rows, num_jobs, report)
    skipped += unreadable
    report_rows("notice", noticed, report)
    report_rows("skipped", skipped, report)
    if skipped and strict:
        raise InputError(f"{len(skipped):,} bad rows in {source} (strict), first: {skipped[0]}")
    if not usable:
        first = f", first: {skipped[0]}" if skipped else ""
        raise InputError(f"{source} has no usable utterance; {len(skipped):,} skipped{first}")
    dropped = describe_dropped(
        (row.text for row in usable),
        source,
        events="kept, for text.normalize.events to say what becomes of them",
    )
    for line in dropped:
        report(line)
    return _split(usable, report), skipped


def report_rows(kind: str, rows: Sequence[Skipped], report: Callable[[str], None]) -> None:
    """One line that begins with ``kind`` for each of the first 20, and how many there are more."""
    for row in rows[:NUM_REPORTED]:
        report(f"{kind}: {row}")
    if len(rows) > NUM_REPORTED:
        report(f"{kind}: {len(rows) - NUM_REPORTED:,} more")


def _check(items: Iterable[Row | Skipped], has_words: bool) -> tuple[list[Row], list[Skipped]]:
    """Rows with a name of their own, a transcript and a file; and the others."""
    every = list(items)
    some_split = any(isinstance(item, Row) and item.split for item in every)
    kept: dict[tuple[str, str], Row] = {}
    skipped: list[Skipped] = []
    for item in every:
        if isinstance(item, Skipped):
            skipped.append(item)
        elif some_split and not item.split:
            skipped.append(Skipped(item.where, "names no split"))
        elif reason := _reason_to_skip(item, kept, has_words):
            skipped.append(Skipped(item.where, reason))
        else:
            kept[_key(item)] = item
    return list(kept.values()), skipped


def _key(row: Row) -> tuple[str, str]:
    """By what a row is known: utterances of other splits may have its name."""
    return _split_of(row), row.utterance_id


def _split_of(row: Row) -> str:
    """The split as the name of its manifest has it."""
    return (row.split or "").replace("/", "-")


def _reason_to_skip(row: Row, kept: Mapping[tuple[str, str], Row], has_words: bool) -> str:
    if _key(row) in kept:
        return f"duplicated id {row.utterance_id}, first in {kept[_key(row)].where}"
    for text in (row.utterance_id, str(row.audio_path), row.split or "", row.speaker or ""):
        if not _is_utf8(text):
            return f"{text} is not a name in UTF-8; rename it"
    if has_words and not any(character.isalnum() for character in row.text):
        return f"empty transcript of {row.utterance_id}"
    if not (math.isfinite(row.start_s) and row.start_s >= 0):
        return f"{row.utterance_id} starts at {row.start_s:g} s; 0 or more is allowed"
    if row.duration_s is not None and not (math.isfinite(row.duration_s) and row.duration_s > 0):
        return f"{row.utterance_id} lasts {row.duration_s:g} s; more than 0 is allowed"
    if row.audio_path is None:
        return f"no audio file for {row.utterance_id}"
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(
    usable: Mapping[Row, Utterance], report: Callable[[str], None]
) -> dict[str, list[Utterance]]:
    if not any(row.split for row in usable):
        by_split, how = hold_out(list(usable.values()))
        report(how)
        return by_split
    named: dict[str, list[Utterance]] = defaultdict(list)
    for row, utterance in usable.items():
        named[_split_of(row)].append(utterance)
    return dict(sorted(named.items()))
