"""The difference in WER between two runs, from their hypotheses for one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.metrics.bootstrap import paired_difference
from asr.report.hypotheses import ScoredUtterance, pair


@dataclass(frozen=True, slots=True, kw_only=True)
class WerDifference:
    """WER of ``run`` minus WER of ``baseline`` in points, with its paired bootstrap interval."""

    split: str
    run: str
    baseline: str
    difference: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return (
            f"{self.split}: {self.run} minus {self.baseline} is {self.difference:+.2f} WER points, "
            f"{self.level:.0%} interval {self.low:+.2f} to {self.high:+.2f} (paired bootstrap over "
            "utterances; training seeds vary beyond it)"
        )


def wer_difference(
    run: Sequence[ScoredUtterance],
    baseline: Sequence[ScoredUtterance],
    *,
    split: str,
    run_name: str,
    baseline_name: str,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> WerDifference:
    """Pair by utterance and resample; raises InputError when they score different utterances."""
    difference, low, high = paired_difference(
        *pair(run, baseline), num_samples=num_samples, seed=seed, level=level
    )
    return WerDifference(
        split=split,
        run=run_name,
        baseline=baseline_name,
        difference=difference,
        low=low,
        high=high,
        level=level,
    )
