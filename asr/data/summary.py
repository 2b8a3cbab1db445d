"""What a preparation left behind: counts a split, what was skipped, and ``summary.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr.data.atomic import write_atomically

FILE_NAME = "summary.json"


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split and its manifest; ``sha256`` is the manifest's."""

    manifest: Path
    num_utterances: int
    num_speakers: int
    num_words: int
    duration_s: float
    sha256: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is in no manifest: the file (or transcript line) and why, in words."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


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

    def lines(self) -> list[str]:
        """One line a split, for people."""
        rows = [
            f"{name}: {split.num_utterances:,} utterances, {split.duration_s / 3600:.2f} h, "
            f"{split.num_words:,} words, {split.num_speakers:,} speakers -> {split.manifest}"
            for name, split in self.splits.items()
        ]
        return [*rows, f"{self.num_skipped:,} skipped"] if self.skipped else rows


def describe_split(
    manifest: Path, texts: Sequence[str], speakers: Iterable[str], durations_s: Iterable[float]
) -> SplitSummary:
    """Counts of a split whose manifest is already written."""
    return SplitSummary(
        manifest=manifest,
        num_utterances=len(texts),
        num_speakers=len(set(speakers)),
        num_words=sum(len(text.split()) for text in texts),
        duration_s=round(sum(durations_s), 3),
        sha256=_digest(manifest),
    )


def write_summary(summary: PrepareSummary) -> None:
    """Write ``summary.json`` into the folder; written last, it marks the folder as complete."""
    record = {
        "settings": summary.settings,
        "splits": {
            name: {**asdict(split), "manifest": split.manifest.name}
            for name, split in summary.splits.items()
        },
        "skipped": [asdict(skipped) for skipped in summary.skipped],
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_atomically(summary.out / FILE_NAME, text.encode())


def read_summary(out: Path) -> PrepareSummary | None:
    """The summary in ``out``, or None when there is none or a manifest is not as it was written."""
    try:
        record = json.loads((out / FILE_NAME).read_text(encoding="utf-8"))
        splits = {
            name: SplitSummary(**{**split, "manifest": out / split["manifest"]})
            for name, split in record["splits"].items()
        }
        skipped = tuple(Skipped(**row) for row in record["skipped"])
        settings = dict(record["settings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    for split in splits.values():
        if not split.manifest.is_file() or _digest(split.manifest) != split.sha256:
            return None
    return PrepareSummary(out, splits, skipped, settings)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
