"""From the utterances of a corpus to manifests: check, decode every file, split, write."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr.audio.read import Heard, hear_audio
from asr.data.check import describe_dropped
from asr.data.manifest import Utterance, manifest_bytes
from asr.data.progress import print_progress
from asr.data.summary import (
    FILE_NAME,
    PrepareSummary,
    Skipped,
    describe_split,
    summary_bytes,
)
from asr.files import replacing
from asr.text.normalize import drop_invisible
from asr.types import InputError


@dataclass(frozen=True, slots=True)
class Row:
    """A transcript and the audio it names; nothing of it is checked yet.

    ``where`` is the transcript file and line. ``audio_path`` is None where no file has the name
    that the transcript wants. ``duration_s`` None means up to the end of the file; ``whole_s`` is
    then the length of the file as the transcript has it, None where it does not say.
    """

    where: str
    utterance_id: str
    audio_path: Path | None
    text: str
    speaker: str | None = None
    split: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    whole_s: float | None = None


HELD_OUT_SHARE = 0.05  # of the audio, for dev and for test each


def hold_out(utterances: Sequence[Utterance]) -> tuple[dict[str, list[Utterance]], str]:
    """Utterances of ``train``, ``dev`` and ``test``, and a sentence that says how they were cut.

    No speaker is in two splits where all speakers are known and none is too large to hold out;
    otherwise single utterances are held out. The choice follows from names alone (a hash), not
    from chance or order.
    """
    if all(utterance.speaker for utterance in utterances):
        speakers = {utterance.utterance_id: str(utterance.speaker) for utterance in utterances}
        chosen = _choose(utterances, speakers)
        if chosen["dev"] and chosen["test"]:
            return chosen, "no split is given: cut 90/5/5 into train, dev and test by speaker"
    names = {utterance.utterance_id: utterance.utterance_id for utterance in utterances}
    chosen = _choose(utterances, names)
    filled = {split: rows for split, rows in chosen.items() if rows}
    return filled, (
        f"no split is given: cut by utterance into {', '.join(filled)}; "
        "speakers may be in more than one"
    )


def _choose(
    utterances: Sequence[Utterance], unit_of: Mapping[str, str]
) -> dict[str, list[Utterance]]:
    """Hold out whole units until each held-out split has its share, and never twice that."""
    units: dict[str, float] = defaultdict(float)
    for utterance in utterances:
        units[unit_of[utterance.utterance_id]] += utterance.duration_s
    share_s = HELD_OUT_SHARE * sum(units.values())
    split_of: dict[str, str] = {}
    for split in ("test", "dev"):
        held_s = 0.0
        for unit in sorted(units, key=_hash):
            fits = held_s + units[unit] <= 2 * share_s
            if unit not in split_of and held_s < share_s and fits:
                split_of[unit] = split
                held_s += units[unit]
    chosen: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for utterance in utterances:
        chosen[split_of.get(unit_of[utterance.utterance_id], "train")].append(utterance)
    return chosen


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


_REPORT_EVERY = 1000
_ROUNDED_S, _ROUNDED_SHARE = 0.5, 0.05  # what lengths in tables are off by


def listen(
    rows: Sequence[Row], num_jobs: int, report: Callable[[str], None]
) -> tuple[dict[Row, Utterance], list[Skipped], list[Skipped]]:
    """The utterances of rows that have audio, in the order of ``rows``, and the unusable rows.

    Also the usable ones whose audio there is something to say about.
    """
    usable: dict[Row, Utterance] = {}
    skipped: list[Skipped] = []
    noticed: list[Skipped] = []
    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        results = [pool.submit(_hear, row) for row in rows]
        try:
            for number, (row, result) in enumerate(zip(rows, results, strict=True), 1):
                heard = result.result()
                if isinstance(heard, str):
                    skipped.append(Skipped(row.where, heard))
                else:
                    usable[row] = _utterance(row, heard)
                    noticed += [Skipped(row.where, notice) for notice in heard.notices]
                if number % _REPORT_EVERY == 0:
                    report(f"read {number:,} of {len(rows):,} utterances")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return usable, skipped, noticed


def _hear(row: Row) -> Heard | str:
    """What is heard, or why the row cannot be used."""
    assert row.audio_path is not None
    try:
        heard = hear_audio(row.audio_path, start_s=row.start_s, duration_s=row.duration_s)
    except (OSError, ValueError) as error:
        return str(error)
    if row.whole_s is not None and _is_longer(heard.duration_s, row.whole_s):
        return (
            f"{row.audio_path} is {heard.duration_s:.2f} s long, its duration says "
            f"{row.whole_s:g} s; a stretch of a file needs its start too (start_s, offset, begin)"
        )
    return heard


def _utterance(row: Row, heard: Heard) -> Utterance:
    assert row.audio_path is not None
    return Utterance(
        utterance_id=row.utterance_id,
        audio_path=row.audio_path,
        start_s=row.start_s,
        duration_s=heard.duration_s,
        sample_rate_hz=heard.info.sample_rate_hz,
        num_channels=heard.info.num_channels,
        text=" ".join(drop_invisible(row.text).split()),
        speaker=row.speaker,
        num_bytes=row.audio_path.stat().st_size,
    )


def _is_longer(duration_s: float, said_s: float) -> bool:
    """Whether a file is longer than a rounded length of all of it can say."""
    return duration_s - said_s > max(_ROUNDED_S, _ROUNDED_SHARE * duration_s)


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
