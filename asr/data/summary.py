"""The summary of a prepared corpus: counts and statistics of each split, skipped utterances."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from asr.errors import printable

NUM_LISTED = 50  # outliers that are listed, the most extreme first; all are counted
_NUM_BINS = 40  # of the histogram, at most
_WIDTHS_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_NORMAL_MAD = 1.4826  # standard deviations in a median absolute deviation, of a normal distribution
_MIN_SPREAD = 0.1  # of the logarithm: speakers of any corpus differ by this
_NUM_SPREADS = 5.0


class Spoken(Protocol):
    """The fields of an utterance that statistics need."""

    @property
    def utterance_id(self) -> str:
        """Its name."""

    @property
    def text(self) -> str:
        """Its transcript."""

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """An utterance whose transcript is too long or too short for its audio."""

    utterance_id: str
    characters_per_s: float
    duration_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of one split, made by ``measure``.

    ``histogram[i]`` counts utterances of ``i * bin_s`` to ``(i + 1) * bin_s`` seconds.
    ``characters`` counts every character, the space too. A rate is characters per second. Outliers
    are utterances outside ``usual_rates``, the range of 5 robust standard deviations of the
    logarithm around the median.
    """

    bin_s: float
    histogram: tuple[int, ...]
    longest_s: float
    characters: dict[str, int]
    median_rate: float
    usual_rates: tuple[float, float]
    num_outliers: int
    outliers: tuple[Outlier, ...]


def measure(utterances: Iterable[Spoken]) -> Statistics:
    """Compute the statistics of at least one utterance; empty texts do not count for rates."""
    spoken = list(utterances)
    durations_s = [one.duration_s for one in spoken]
    characters = Counter[str]()
    for one in spoken:
        characters.update(one.text)
    worded = [one for one in spoken if one.text]
    logs = [math.log(_rate(one)) for one in worded]
    middle = statistics.median(logs) if logs else -math.inf
    deviation = statistics.median(abs(value - middle) for value in logs) if logs else 0.0
    reach = _NUM_SPREADS * max(_NORMAL_MAD * deviation, _MIN_SPREAD)
    strange = [
        (abs(value - middle), one)
        for value, one in zip(logs, worded, strict=True)
        if abs(value - middle) > reach
    ]
    strange.sort(key=lambda pair: (-pair[0], pair[1].utterance_id))
    bin_s = _bin_width_s(max(durations_s))
    return Statistics(
        bin_s=bin_s,
        histogram=_histogram(durations_s, bin_s),
        longest_s=round(max(durations_s), 3),
        characters=dict(sorted(characters.items())),
        median_rate=round(math.exp(middle), 2),
        usual_rates=(round(math.exp(middle - reach), 2), round(math.exp(middle + reach), 2)),
        num_outliers=len(strange),
        outliers=tuple(
            Outlier(one.utterance_id, round(_rate(one), 2), round(one.duration_s, 3), one.text)
            for _, one in strange[:NUM_LISTED]
        ),
    )


def from_record(record: Mapping[str, Any]) -> Statistics:
    """Restore from a dict made by ``dataclasses.asdict`` and passed through JSON."""
    low, high = record["usual_rates"]
    return Statistics(
        **{
            **record,
            "histogram": tuple(record["histogram"]),
            "usual_rates": (low, high),
            "outliers": tuple(Outlier(**outlier) for outlier in record["outliers"]),
        }
    )


def _rate(one: Spoken) -> float:
    return len(one.text) / one.duration_s


def _bin_width_s(longest_s: float) -> float:
    wide_enough = (width_s for width_s in _WIDTHS_S if longest_s < _NUM_BINS * width_s)
    return next(wide_enough, math.ceil(longest_s / _NUM_BINS + 1e-9))


def _histogram(durations_s: Iterable[float], bin_s: float) -> tuple[int, ...]:
    counts = Counter(int(duration_s / bin_s) for duration_s in durations_s)
    return tuple(counts[index] for index in range(max(counts) + 1))


SUMMARY_FILE = "summary.json"
_MAX_LENGTH = 500  # characters of the reason for a skipped row


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split and its manifest, with the manifest's ``sha256``.

    ``num_speakers`` counts the known speakers.
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
        """Whether the manifest is unchanged since it was written."""
        return self.manifest.is_file() and _digest(self.manifest) == self.sha256


@dataclass(frozen=True, slots=True)
class Skipped:
    """An utterance left out of the manifests: its file or transcript line, and the reason.

    Unprintable characters of file names are escaped; long texts are cut.
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
    """The result of preparing a corpus; ``settings`` describe its source."""

    out: Path
    splits: dict[str, SplitSummary]
    skipped: tuple[Skipped, ...]
    settings: dict[str, Any]

    @property
    def num_skipped(self) -> int:
        """Number of utterances that are in no manifest."""
        return len(self.skipped)

    @property
    def is_intact(self) -> bool:
        """Whether all manifests are unchanged since they were written."""
        return all(split.is_intact for split in self.splits.values())

    def lines(self) -> list[str]:
        """Return one line per split, for people."""
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
    """Count the utterances, speakers, words and seconds of a split; ``data`` is its manifest."""
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
    """Return the content of ``summary.json``; written last, it marks the folder as complete."""
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
    """Read the summary in ``out``; None without one, or if it has another version."""
    try:
        record = json.loads((out / SUMMARY_FILE).read_text(encoding="utf-8"))
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
