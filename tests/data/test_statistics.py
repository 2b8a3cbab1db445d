from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from asr.data.manifest import CheckedUtterance
from asr.data.summary import NUM_LISTED, from_record, measure


def spoken(duration_s: float, text: str, name: str = "u") -> CheckedUtterance:
    return CheckedUtterance(name, Path("a.wav"), 0.0, duration_s, 16_000, 1, text, None)


def test_rates_far_from_the_median_are_outliers() -> None:
    generator = np.random.default_rng(0)
    usual = [
        spoken(10.0, "A" * int(140 * np.exp(0.15 * generator.standard_normal())), f"u{index}")
        for index in range(500)
    ]
    found = measure([*usual, spoken(1.0, "A" * 90, "fast"), spoken(10.0, "AB", "slow")])
    assert [(one.utterance_id, one.characters_per_s) for one in found.outliers] == [
        ("slow", 0.2),
        ("fast", 90.0),
    ]
    assert found.num_outliers == 2
    assert found.median_rate == pytest.approx(14.0, rel=0.02)
    low, high = found.usual_rates
    assert low == pytest.approx(14 * np.exp(-0.75), rel=0.15)
    assert high == pytest.approx(14 * np.exp(0.75), rel=0.15)


def test_all_outliers_are_counted_and_the_strangest_listed() -> None:
    usual = [spoken(1.0, "A" * 10, f"u{index}") for index in range(300)]
    strange = [spoken(1.0, "A" * (100 + index), f"s{index:03d}") for index in range(NUM_LISTED + 9)]
    found = measure([*usual, *strange])
    assert found.num_outliers == NUM_LISTED + 9
    assert len(found.outliers) == NUM_LISTED
    assert found.outliers[0].utterance_id == f"s{NUM_LISTED + 8:03d}"


@pytest.mark.parametrize(
    ("durations_s", "bin_s", "histogram"),
    [
        ((0.1, 0.3, 0.6, 0.74), 0.25, (1, 1, 2)),
        ((0.5, 12.0), 0.5, (0, 1, *[0] * 22, 1)),
        ((1.0, 35.2), 1.0, (0, 1, *[0] * 33, 1)),
        ((100.0, 9000.0), 226.0, (1, *[0] * 38, 1)),
    ],
)
def test_the_histogram(
    durations_s: tuple[float, ...], bin_s: float, histogram: tuple[int, ...]
) -> None:
    found = measure([spoken(duration_s, "A") for duration_s in durations_s])
    assert (found.bin_s, found.longest_s) == (bin_s, max(durations_s))
    assert found.histogram == histogram


def test_statistics_are_kept_as_json() -> None:
    found = measure([spoken(1.0, "É A"), spoken(0.2, "B"), spoken(2.0, "A" * 500, "x")])
    assert found.characters == {" ": 1, "A": 501, "B": 1, "É": 1}
    assert from_record(json.loads(json.dumps(asdict(found)))) == found
