"""Prepare the user's own audio: find transcripts, listen to every file, write manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from asr.audio.read import probe_audio, read_audio
from asr.data.holdout import hold_out
from asr.data.manifest import Utterance, write_manifest
from asr.data.progress import print_progress
from asr.data.summary import PrepareSummary, Skipped, describe_split, write_summary
from asr.data.transcripts import AUDIO_SUFFIXES, Row, list_files, read_librispeech, read_table
from asr.types import InputError

NUM_REPORTED = 20  # skipped rows that are reported one by one; summary.json has them all
_REPORT_EVERY = 1000


def prepare_folder(
    source: str | Path,
    out: str | Path,
    *,
    transcripts: str | Path | None = None,
    splits: Sequence[str] | None = None,
    strict: bool = False,
    num_jobs: int = 1,
    report: Callable[[str], None] = print_progress,
) -> PrepareSummary:
    """Write ``<out>/<split>.jsonl.gz`` for each split and ``<out>/summary.json``.

    ``source`` has LibriSpeech's layout (``<split>/<speaker>/<chapter>/*.trans.txt``, audio of any
    format beside it), or ``transcripts`` names a table (see ``read_table``). ``splits`` keeps
    those splits only. Without any split information the corpus is cut 90/5/5.

    Every file is decoded once. A row whose audio is missing, unreadable, empty or not finite, whose
    transcript is empty, whose name was there before, or audio that no row names, is reported,
    counted and skipped; with ``strict`` it is an ``InputError`` and nothing is written. So is a
    corpus without a single usable row. Running again prepares again.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise InputError(f"{source} is {'a file' if source.exists() else 'missing'}; give a folder")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the manifests")
    table = None if transcripts is None else Path(transcripts)
    rows, skipped = _collect(source, table, splits)
    usable, unreadable = _listen(rows, num_jobs, report)
    skipped += unreadable
    _report_skipped(skipped, report)
    if skipped and strict:
        raise InputError(f"{len(skipped):,} bad rows in {source} (strict), first: {skipped[0]}")
    if not usable:
        first = f", first: {skipped[0]}" if skipped else ""
        raise InputError(f"{source} has no usable utterance; {len(skipped):,} skipped{first}")
    by_split = _split(usable, report)
    manifests = {}
    for split, utterances in by_split.items():
        manifest = out / f"{split}.jsonl.gz"
        write_manifest(utterances, manifest)
        manifests[split] = describe_split(
            manifest,
            [utterance.text for utterance in utterances],
            [utterance.speaker or "" for utterance in utterances],
            [utterance.duration_s for utterance in utterances],
        )
    settings = {
        "corpus": "folder",
        "source": str(source.resolve()),
        "transcripts": None if table is None else str(table.resolve()),
    }
    summary = PrepareSummary(out, manifests, tuple(skipped), settings)
    write_summary(summary)
    for line in summary.lines():
        report(line)
    return summary


def _collect(
    source: Path, table: Path | None, splits: Sequence[str] | None
) -> tuple[list[Row], list[Skipped]]:
    """Rows with a name of their own, a transcript and a file; and the others."""
    files = list_files(source)
    items = list(read_librispeech(source, files) if table is None else read_table(table, source))
    if not items and table is None:
        raise InputError(
            f"{source} has no *.trans.txt (LibriSpeech layout); "
            "name a TSV or JSONL file of transcripts"
        )
    every = [item for item in items if isinstance(item, Row)]
    skipped = [item for item in items if isinstance(item, Skipped)]
    named = {row.audio_path.resolve() for row in every if row.audio_path}
    if any(row.split for row in every):
        skipped += [Skipped(row.where, "names no split") for row in every if not row.split]
        every = [row for row in every if row.split]
    rows = _keep_splits(every, splits, source)
    kept: dict[str, Row] = {}
    for row in rows:
        reason = _reason_to_skip(row, kept)
        if reason:
            skipped.append(Skipped(row.where, reason))
        else:
            kept[row.utterance_id] = row
    unnamed = (
        file
        for file in files
        if file.suffix.lower() in AUDIO_SUFFIXES and file.resolve() not in named
    )
    if splits is None:
        skipped += [Skipped(str(file), "audio without transcript") for file in unnamed]
    return list(kept.values()), skipped


def _reason_to_skip(row: Row, kept: dict[str, Row]) -> str:
    if row.utterance_id in kept:
        return f"duplicated id {row.utterance_id}, first in {kept[row.utterance_id].where}"
    if not any(character.isalnum() for character in row.text):
        return f"empty transcript of {row.utterance_id}"
    if row.audio_path is None:
        return f"no audio file for {row.utterance_id}"
    return ""


def _keep_splits(rows: list[Row], splits: Sequence[str] | None, source: Path) -> list[Row]:
    if splits is None:
        return rows
    found = sorted({row.split for row in rows if row.split})
    for split in splits:
        if split not in found:
            raise InputError(
                f"{source} has no split {split!r}; it has {', '.join(found) or 'none at all'}"
            )
    return [row for row in rows if row.split in splits]


def _listen(
    rows: Sequence[Row], num_jobs: int, report: Callable[[str], None]
) -> tuple[dict[Row, Utterance], list[Skipped]]:
    """Decode every row's audio: exact durations, and the rows that cannot be read."""
    usable: dict[Row, Utterance] = {}
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        results = [pool.submit(_read_row, row) for row in rows]
        try:
            for number, (row, result) in enumerate(zip(rows, results, strict=True), 1):
                utterance = result.result()
                if isinstance(utterance, str):
                    skipped.append(Skipped(row.where, utterance))
                else:
                    usable[row] = utterance
                if number % _REPORT_EVERY == 0:
                    report(f"read {number:,} of {len(rows):,} utterances")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return usable, skipped


def _read_row(row: Row) -> Utterance | str:
    """The utterance, or why it cannot be used."""
    assert row.audio_path is not None
    try:
        info = probe_audio(row.audio_path)
        waveform = read_audio(row.audio_path, start_s=row.start_s, duration_s=row.duration_s)
    except InputError as error:
        return str(error)
    return Utterance(
        utterance_id=row.utterance_id,
        audio_path=row.audio_path,
        start_s=row.start_s,
        duration_s=waveform.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        num_channels=info.num_channels,
        text=" ".join(row.text.split()),
        speaker=row.speaker,
    )


def _split(
    usable: dict[Row, Utterance], report: Callable[[str], None]
) -> dict[str, list[Utterance]]:
    if not any(row.split for row in usable):
        by_split, how = hold_out(list(usable.values()))
        report(how)
        return by_split
    named: dict[str, list[Utterance]] = defaultdict(list)
    for row, utterance in usable.items():
        named[str(row.split).replace("/", "-")].append(utterance)
    return dict(sorted(named.items()))


def _report_skipped(skipped: Iterable[Skipped], report: Callable[[str], None]) -> None:
    skipped = list(skipped)
    for row in skipped[:NUM_REPORTED]:
        report(f"skipped: {row}")
    if len(skipped) > NUM_REPORTED:
        report(f"skipped: {len(skipped) - NUM_REPORTED:,} more, all in summary.json")
