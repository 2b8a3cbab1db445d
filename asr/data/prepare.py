"""Preparing a corpus: check its utterances, decode every file, make splits, write manifests."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr.audio.read import CheckedAudio, check_audio
from asr.data.check import describe_dropped
from asr.data.manifest import CheckedUtterance, manifest_bytes
from asr.data.progress import print_progress
from asr.data.splits import split_train_dev_test
from asr.data.summary import (
    SUMMARY_FILE,
    PrepareSummary,
    Skipped,
    describe_split,
    summary_bytes,
)
from asr.errors import InputError
from asr.files import replacing
from asr.text.normalize import drop_invisible


@dataclass(frozen=True, slots=True)
class RawUtterance:
    """An unchecked utterance as a corpus lists it: a transcript and the path of its audio.

    ``where`` is the transcript file and line. ``audio_path`` is None if the file does not exist.
    ``duration_s`` None means up to the end of the file; ``whole_s`` is then the length of the file
    according to the transcript, or None.
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
    labels: tuple[tuple[str, str], ...] = ()


_REPORT_EVERY = 1000
_ROUNDED_S, _ROUNDED_SHARE = 0.5, 0.05  # tolerance for rounded lengths in tables


def decode_audio_files(
    raw_utterances: Sequence[RawUtterance], num_jobs: int, report: Callable[[str], None]
) -> tuple[dict[RawUtterance, CheckedUtterance], list[Skipped], list[Skipped]]:
    """Decode every audio file; return the usable utterances in order, the unusable, notices.

    Notices are about usable utterances, such as channels that cancel one another.
    """
    usable: dict[RawUtterance, CheckedUtterance] = {}
    skipped: list[Skipped] = []
    noticed: list[Skipped] = []
    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        results = [pool.submit(_decode, raw) for raw in raw_utterances]
        try:
            for number, (raw, result) in enumerate(zip(raw_utterances, results, strict=True), 1):
                audio = result.result()
                if isinstance(audio, str):
                    skipped.append(Skipped(raw.where, audio))
                else:
                    usable[raw] = _checked(raw, audio)
                    noticed += [Skipped(raw.where, notice) for notice in audio.notices]
                if number % _REPORT_EVERY == 0:
                    report(f"read {number:,} of {len(raw_utterances):,} utterances")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return usable, skipped, noticed


def _decode(raw: RawUtterance) -> CheckedAudio | str:
    """Return the decoded audio of an utterance, or the reason why it cannot be used."""
    assert raw.audio_path is not None
    try:
        audio = check_audio(raw.audio_path, start_s=raw.start_s, duration_s=raw.duration_s)
    except (OSError, ValueError) as error:
        return str(error)
    if raw.whole_s is not None and _is_longer(audio.duration_s, raw.whole_s):
        return (
            f"{raw.audio_path} is {audio.duration_s:.2f} s long, its duration says "
            f"{raw.whole_s:g} s; a stretch of a file needs its start too (start_s, offset, begin)"
        )
    return audio


def _checked(raw: RawUtterance, audio: CheckedAudio) -> CheckedUtterance:
    assert raw.audio_path is not None
    return CheckedUtterance(
        utterance_id=raw.utterance_id,
        audio_path=raw.audio_path,
        start_s=raw.start_s,
        duration_s=audio.duration_s,
        sample_rate_hz=audio.info.sample_rate_hz,
        num_channels=audio.info.num_channels,
        text=" ".join(drop_invisible(raw.text).split()),
        speaker=raw.speaker,
        num_bytes=raw.audio_path.stat().st_size,
        labels=raw.labels,
    )


def _is_longer(duration_s: float, said_s: float) -> bool:
    """Return whether a file is longer than the transcript says, with tolerance for rounding."""
    return duration_s - said_s > max(_ROUNDED_S, _ROUNDED_SHARE * duration_s)


NUM_REPORTED = 20  # skipped utterances that are reported one by one; summary.json has all


def prepare_utterances(
    items: Iterable[RawUtterance | Skipped],
    out: Path,
    *,
    source: str,
    settings: Mapping[str, Any],
    strict: bool = False,
    num_jobs: int = 1,
    report: Callable[[str], None] = print_progress,
) -> PrepareSummary:
    """Write ``<out>/<split>.jsonl.gz`` for each split of ``items`` and ``<out>/summary.json``.

    See ``read_splits``; the summary keeps ``settings``, which say where the corpus comes from.
    """
    by_split, skipped = read_splits(
        items, out, source=source, strict=strict, num_jobs=num_jobs, report=report
    )
    return write_corpus(
        PrepareSummary(out, {}, tuple(skipped), dict(settings)), by_split, report=report
    )


def write_corpus(
    known: PrepareSummary,
    by_split: Mapping[str, Sequence[CheckedUtterance]],
    *,
    report: Callable[[str], None],
) -> PrepareSummary:
    """Write a manifest for each split and ``summary.json``: all of them, or none if one fails.

    ``known`` is the summary without these splits.
    """
    with ExitStack() as written:
        summary_file = written.enter_context(replacing(known.out / SUMMARY_FILE))
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
    items: Iterable[RawUtterance | Skipped],
    out: Path,
    *,
    source: str,
    strict: bool,
    num_jobs: int,
    report: Callable[[str], None],
    has_words: bool = True,
) -> tuple[dict[str, list[CheckedUtterance]], list[Skipped]]:
    """Check and split a corpus; return the utterances by split and those skipped; write nothing.

    Every file is decoded once. An utterance is reported, counted and skipped if its audio is
    missing, unreadable, empty or not finite, its times are invalid, its transcript is empty (if the
    corpus ``has_words``), or its split has another utterance of the same name. If no utterance
    names a split, the corpus is split 90/5/5.

    Raises:
        InputError: something is skipped and ``strict`` is set, no utterance is usable, or ``out``
            is a file. The message names ``source``.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the manifests")
    checked, skipped = _check(items, has_words)
    usable, unreadable, noticed = decode_audio_files(checked, num_jobs, report)
    skipped += unreadable
    report_skipped("notice", noticed, report)
    report_skipped("skipped", skipped, report)
    if skipped and strict:
        raise InputError(f"{len(skipped):,} bad rows in {source} (strict), first: {skipped[0]}")
    if not usable:
        first = f", first: {skipped[0]}" if skipped else ""
        raise InputError(f"{source} has no usable utterance; {len(skipped):,} skipped{first}")
    dropped = describe_dropped(
        (raw.text for raw in usable),
        source,
        events="kept, for text.normalize.events to say what becomes of them",
    )
    for line in dropped:
        report(line)
    return _split(usable, report), skipped


def report_skipped(kind: str, skipped: Sequence[Skipped], report: Callable[[str], None]) -> None:
    """Report the first 20 in lines that begin with ``kind``, then how many more there are."""
    for one in skipped[:NUM_REPORTED]:
        report(f"{kind}: {one}")
    if len(skipped) > NUM_REPORTED:
        report(f"{kind}: {len(skipped) - NUM_REPORTED:,} more")


def _check(
    items: Iterable[RawUtterance | Skipped], has_words: bool
) -> tuple[list[RawUtterance], list[Skipped]]:
    """Separate utterances with a unique name, a transcript and a file from the others."""
    every = list(items)
    some_split = any(isinstance(item, RawUtterance) and item.split for item in every)
    kept: dict[tuple[str, str], RawUtterance] = {}
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


def _key(raw: RawUtterance) -> tuple[str, str]:
    """Return the split and name of an utterance: names are unique only within a split."""
    return _split_of(raw), raw.utterance_id


def _split_of(raw: RawUtterance) -> str:
    """Return the split as written in the name of its manifest."""
    return (raw.split or "").replace("/", "-")


def _reason_to_skip(
    raw: RawUtterance, kept: Mapping[tuple[str, str], RawUtterance], has_words: bool
) -> str:
    if _key(raw) in kept:
        return f"duplicated id {raw.utterance_id}, first in {kept[_key(raw)].where}"
    for text in (raw.utterance_id, str(raw.audio_path), raw.split or "", raw.speaker or ""):
        if not _is_utf8(text):
            return f"{text} is not a name in UTF-8; rename it"
    if has_words and not any(character.isalnum() for character in raw.text):
        return f"empty transcript of {raw.utterance_id}"
    if not (math.isfinite(raw.start_s) and raw.start_s >= 0):
        return f"{raw.utterance_id} starts at {raw.start_s:g} s; 0 or more is allowed"
    if raw.duration_s is not None and not (math.isfinite(raw.duration_s) and raw.duration_s > 0):
        return f"{raw.utterance_id} lasts {raw.duration_s:g} s; more than 0 is allowed"
    if raw.audio_path is None:
        return f"no audio file for {raw.utterance_id}"
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(
    usable: Mapping[RawUtterance, CheckedUtterance], report: Callable[[str], None]
) -> dict[str, list[CheckedUtterance]]:
    if not any(raw.split for raw in usable):
        by_split, how = split_train_dev_test(list(usable.values()))
        report(how)
        return by_split
    named: dict[str, list[CheckedUtterance]] = defaultdict(list)
    for raw, utterance in usable.items():
        named[_split_of(raw)].append(utterance)
    return dict(sorted(named.items()))
