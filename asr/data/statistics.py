"""What a split is made of: lengths of utterances, rates of speech, characters."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

NUM_LISTED = 50  # outliers that are listed, the strangest first; all are counted
_NUM_BINS = 40  # of the histogram, at most
_WIDTHS_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_NORMAL_MAD = 1.4826  # standard deviations in a median absolute deviation, of a normal distribution
_MIN_SPREAD = 0.1  # of the logarithm: what speakers differ by in any corpus
_NUM_SPREADS = 5.0


class Spoken(Protocol):
    """An utterance, as far as it counts here."""

    @property
    def utterance_id(self) -> str:
        """Its name."""

    @property
    def text(self) -> str:
        """What is said."""

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
    """Of one split; ``Utterance``s give it through ``measure``.

    ``histogram[i]`` counts utterances of ``i * bin_s`` to ``(i + 1) * bin_s`` seconds.
    ``characters`` counts every character, the space too. A rate is characters per second; outliers
    are the utterances outside of ``usual_rates``, which lie 5 robust standard deviations of the
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
    """The statistics of at least one utterance; rates are of those with words, 0 without any."""
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
    """From what ``dataclasses.asdict`` and JSON made of them."""
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
