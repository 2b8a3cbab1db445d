"""Preparing AN4 from its archive or a folder: official train and test, held-out speakers as dev."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from asr.audio.open import AUDIO_SUFFIXES
from asr.data.corpora.archives import Archives, is_complete, read_own_summary, unpack_whole
from asr.data.corpora.download import Report
from asr.data.corpora.parts import AN4, AN4_MIRROR, Corpus
from asr.data.folder import folder_utterances
from asr.data.prepare import RawUtterance, prepare_utterances
from asr.data.progress import print_progress
from asr.data.summary import PrepareSummary, Skipped
from asr.errors import InputError
from asr.files import read_lines

NUM_UTTERANCES = {"train": 948, "test": 130}
"""Number of utterances of the official splits."""
SPLITS = ("train", "dev", "test")
_FOLDERS = {"train": "an4_clstk", "test": "an4test_clstk"}
_LINE = re.compile(r"(.*?)\s*\(([\w-]+)\)\s*")
_FIRST_DEV, _DEV_STEP = 3, 9  # 8 of the 74 speakers, 2 of them women; 102 of the 948 utterances


def prepare_an4(
    out: str | Path,
    *,
    source: str | Path | None = None,
    corpus: Corpus = AN4,
    mirror: str = AN4_MIRROR,
    checksums: str | Path | None = None,
    keep_archives: bool = False,
    strict: bool = False,
    num_jobs: int = 1,
    report: Report = print_progress,
) -> PrepareSummary:
    """Write ``<out>/an4/…``, manifests of train, dev and test, and ``<out>/summary.json``.

    ``source`` is a copy on disk to use instead of the archive: the unpacked archive, with audio in
    SPHERE or any other format, or the audio in LibriSpeech's layout with the splits train and test.
    AN4 has no dev split: every ninth speaker of train, in order of name, becomes dev, the same
    speakers in both layouts. For ``mirror``, ``checksums``, bad rows and ``strict`` see
    ``prepare_librispeech``.

    Raises:
        InputError: ``source`` has neither layout, the disk is too full, or download, checksum or
            archive fail.
    """
    out = Path(out)
    summary = read_own_summary(out, corpus.name)
    root = out / corpus.name if source is None else Path(source)
    if source is None:
        if summary.splits and all(is_complete(summary, split, report) for split in SPLITS):
            report(f"{out} is complete")
            return summary
        if not root.is_dir():
            (part,) = corpus.parts
            archives = Archives(corpus, out / "archives", mirror, checksums)
            unpack_whole(archives, part, root, keep=keep_archives, report=report)
    return prepare_utterances(
        with_dev(_utterances(root), report),
        out,
        source=str(root),
        settings={"corpus": corpus.name, "source": str(root.resolve())},
        strict=strict,
        num_jobs=num_jobs,
        report=report,
    )


def with_dev(
    items: Sequence[RawUtterance | Skipped], report: Report
) -> list[RawUtterance | Skipped]:
    """Move held-out training speakers to ``dev``; report how many utterances are missing."""
    utterances = [item for item in items if isinstance(item, RawUtterance)]
    for split, whole in NUM_UTTERANCES.items():
        found = sum(utterance.split == split for utterance in utterances)
        if found != whole:
            report(f"{split}: {found:,} utterances, the official split has {whole:,}")
    speakers = sorted(
        {str(utterance.speaker) for utterance in utterances if utterance.split == "train"}
    )
    held_out = set(speakers[_FIRST_DEV::_DEV_STEP])
    return [
        replace(item, split="dev")
        if isinstance(item, RawUtterance) and item.split == "train" and item.speaker in held_out
        else item
        for item in items
    ]


def _utterances(root: Path) -> list[RawUtterance | Skipped]:
    """Read the utterances of either layout."""
    if not root.is_dir():
        raise InputError(f"{root} is {'a file' if root.exists() else 'missing'}; give a folder")
    if (root / "etc").is_dir():
        return [utterance for split in _FOLDERS for utterance in _official_utterances(root, split)]
    if all((root / split).is_dir() for split in _FOLDERS):
        return folder_utterances(root, splits=tuple(_FOLDERS))
    raise InputError(
        f"{root} is not AN4: neither etc/an4_train.transcription and wav/ (the unpacked archive) "
        "nor train/ and test/ in LibriSpeech layout"
    )


def _official_utterances(root: Path, split: str) -> Iterator[RawUtterance | Skipped]:
    """Yield utterances of lines ``<s> THE WORDS </s> (an251-fash-b)``; the speaker is ``fash``."""
    transcription = root / "etc" / f"an4_{split}.transcription"
    if not transcription.is_file():
        raise InputError(f"{root} has no etc/{transcription.name}; is it the whole of AN4?")
    folder = root / "wav" / _FOLDERS[split]
    audio = {
        file.stem: file
        for file in sorted(folder.glob("*/*"), key=_sphere_first)  # converted files replace SPHERE
        if file.suffix.lower() in AUDIO_SUFFIXES
    }
    for where, line in read_lines(transcription):
        match = _LINE.fullmatch(line)
        name = match[2] if match else ""
        if match is None or name.count("-") != 2:
            yield Skipped(where, "no name such as (an251-fash-b) at its end")
            continue
        text = " ".join(word for word in match[1].split() if word not in ("<s>", "</s>"))
        yield RawUtterance(
            where, name, audio.get(name), text, speaker=name.split("-")[1], split=split
        )


def _sphere_first(file: Path) -> tuple[bool, str]:
    return file.suffix.lower() != ".sph", str(file)
