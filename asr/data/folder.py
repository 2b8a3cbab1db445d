"""Preparing the user's own audio: find transcripts, check every file, write manifests."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from asr.audio.open import AUDIO_SUFFIXES
from asr.data.prepare import RawUtterance, prepare_utterances
from asr.data.progress import print_progress
from asr.data.summary import PrepareSummary, Skipped
from asr.data.transcripts import list_files, read_librispeech, read_table
from asr.errors import InputError


def prepare_folder(
    source: str | Path,
    out: str | Path,
    *,
    transcripts: str | Path | None = None,
    splits: Sequence[str] | None = None,
    labels: Sequence[str] = (),
    strict: bool = False,
    num_jobs: int = 1,
    report: Callable[[str], None] = print_progress,
) -> PrepareSummary:
    """Write ``<out>/<split>.jsonl.gz`` for each split and ``<out>/summary.json``.

    ``source`` has LibriSpeech's layout (``<split>/<speaker>/<chapter>/*.trans.txt``, audio of any
    format beside it), or ``transcripts`` is a table (see ``read_table``). ``splits`` selects splits
    and ``labels`` columns of the table to keep. Audio without a transcript is reported, counted and
    skipped, and so are bad utterances (see ``read_splits``, also for ``strict``). Each run prepares
    anew.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise InputError(f"{source} is {'a file' if source.exists() else 'missing'}; give a folder")
    table = None if transcripts is None else Path(transcripts)
    if labels and table is None:
        raise InputError("--labels are columns of a table; give --transcripts too")
    return prepare_utterances(
        folder_utterances(source, table, splits, report, labels),
        out,
        source=str(source),
        settings={
            "corpus": "folder",
            "source": str(source.resolve()),
            "transcripts": None if table is None else str(table.resolve()),
            **({"labels": list(labels)} if labels else {}),
        },
        strict=strict,
        num_jobs=num_jobs,
        report=report,
    )


def folder_utterances(
    source: Path,
    table: Path | None = None,
    splits: Sequence[str] | None = None,
    report: Callable[[str], None] = print_progress,
    labels: Sequence[str] = (),
) -> list[RawUtterance | Skipped]:
    """Return the utterances of LibriSpeech's transcripts or ``table``, then unmentioned audio.

    ``splits`` selects their utterances and leaves out unmentioned audio.
    """
    files = list_files(source)
    items = list(
        read_librispeech(source, files)
        if table is None
        else read_table(table, source, report, labels)
    )
    if not items and table is None:
        raise InputError(
            f"{source} has no *.trans.txt (LibriSpeech layout); "
            "name a TSV or JSONL file of transcripts"
        )
    utterances = [item for item in items if isinstance(item, RawUtterance)]
    if splits is not None:
        _check_splits(splits, utterances, source)
        kept = (None, *splits)
        return [item for item in items if isinstance(item, Skipped) or item.split in kept]
    named = {
        os.path.realpath(utterance.audio_path) for utterance in utterances if utterance.audio_path
    }
    return items + [
        Skipped(str(file), "audio without transcript")
        for file in files
        if file.suffix.lower() in AUDIO_SUFFIXES and os.path.realpath(file) not in named
    ]


def _check_splits(splits: Sequence[str], utterances: Sequence[RawUtterance], source: Path) -> None:
    found = sorted({utterance.split for utterance in utterances if utterance.split})
    for split in splits:
        if split not in found:
            raise InputError(
                f"{source} has no split {split!r}; it has {', '.join(found) or 'none at all'}"
            )
