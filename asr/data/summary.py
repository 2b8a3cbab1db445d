"""What a preparation left behind: counts a split, what was skipped, and ``summary.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from asr.data.statistics import Spoken, Statistics, from_record, measure
from asr.printable import printable

FILE_NAME = "summary.json"
_MAX_LENGTH = 500  # characters of what is said of a skipped row


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split and its manifest; ``sha256`` is the manifest's.

    ``num_speakers`` counts those known, and is 0 where none is.
    """

    manifest: Path
    num_utterances: int
    num_speakers: int
    num_words: int
    duration_s: float
    sha256: str
    statistics: Statistics

    @property
    def is_intact(self) -> bool:
        """Whether the manifest is there as it was written."""
        return self.manifest.is_file() and _digest(self.manifest) == self.sha256


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is in no manifest: the file (or transcript line) and why, in words.

    Characters of a file name that cannot be printed stand as escapes; long texts end early.
    """

    where: str
    reason: str

    def __post_init__(self) -> None:
        for name, text in (("where", self.where), ("reason", self.reason)):
            short = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"
            object.__setattr__(self, name, printable(short))

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.reason}")


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """The result of a preparation. ``settings`` holds what the corpus was made from."""

    out: Path
    splits: dict[str, SplitSummary]
    skipped: tuple[Skipped, ...]
    settings: dict[str, Any]

    @property
    def num_skipped(self) -> int:
        """How many rows are in no manifest."""
        return len(self.skipped)

    @property
    def is_intact(self) -> bool:
        """Whether all manifests are there as they were written."""
        return all(split.is_intact for split in self.splits.values())

    def lines(self) -> list[str]:
        """One line a split, for people."""
        rows = [
            f"{name}: {split.num_utterances:,} utterances, {split.duration_s / 3600:.2f} h, "
            f"{split.num_words:,} words, {_speakers(split.num_speakers)} -> {split.manifest}"
            for name, split in self.splits.items()
        ]
        return [*rows, f"{self.num_skipped:,} skipped"] if self.skipped else rows


class _Utterance(Spoken, Protocol):
    @property
    def speaker(self) -> str | None: ...


def describe_split(manifest: Path, utterances: Sequence[_Utterance], data: bytes) -> SplitSummary:
    """Counts of a split; ``data`` are the bytes of its manifest."""
    return SplitSummary(
        manifest=manifest,
        num_utterances=len(utterances),
        num_speakers=len({one.speaker for one in utterances if one.speaker}),
        num_words=sum(len(one.text.split()) for one in utterances),
        duration_s=round(sum(one.duration_s for one in utterances), 3),
        sha256=hashlib.sha256(data).hexdigest(),
        statistics=measure(utterances),
    )


def summary_bytes(summary: PrepareSummary) -> bytes:
    """The content of ``summary.json``; written last, it marks the folder as complete."""
    record = {
        "settings": summary.settings,
        "splits": {
            name: {**asdict(split), "manifest": split.manifest.name}
            for name, split in summary.splits.items()
        },
        "skipped": [asdict(skipped) for skipped in summary.skipped],
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")


def read_summary(out: Path) -> PrepareSummary | None:
    """The summary in ``out``, or None when there is none, or one of another version."""
    try:
        record = json.loads((out / FILE_NAME).read_text(encoding="utf-8"))
        splits = {
            name: SplitSummary(
                **{
                    **split,
                    "manifest": out / split["manifest"],
                    "statistics": from_record(split["statistics"]),
                }
            )
            for name, split in record["splits"].items()
        }
        skipped = tuple(Skipped(**row) for row in record["skipped"])
        settings = dict(record["settings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return PrepareSummary(out, splits, skipped, settings)


def _speakers(count: int) -> str:
    return f"{count:,} speakers" if count else "speakers unknown"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
