"""The difference in WER between two schedules, from the hypotheses of their runs for one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.metrics.bootstrap import paired_difference
from asr.metrics.wer import WordErrors
from asr.report.hypotheses import ScoredUtterance, pair

Hypotheses = Sequence[ScoredUtterance]


@dataclass(frozen=True, slots=True, kw_only=True)
class WerDifference:
    """WER of ``run`` minus WER of ``baseline`` in points, with its paired bootstrap interval.

    With several seeds both rates are over all of them.
    """

    split: str
    run: str
    baseline: str
    difference: float
    low: float
    high: float
    level: float
    num_seeds: int = 1

    def __str__(self) -> str:
        how = (
            "; training seeds vary beyond it"
            if self.num_seeds == 1
            else f" with their errors of {self.num_seeds} seeds"
        )
        return (
            f"{self.split}: {self.run} minus {self.baseline} is {self.difference:+.2f} WER points, "
            f"{self.level:.0%} interval {self.low:+.2f} to {self.high:+.2f} (paired bootstrap over "
            f"utterances{how})"
        )


def wer_difference(
    runs: Sequence[Hypotheses],
    baselines: Sequence[Hypotheses],
    *,
    split: str,
    run_name: str,
    baseline_name: str,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> WerDifference:
    """Pair by utterance and resample; ``runs[i]`` and ``baselines[i]`` are of the same seed.

    An utterance is drawn with its errors of all seeds, which are not independent.

    Raises:
        InputError: two of them score different utterances.
    """
    assert len(runs) == len(baselines) > 0
    first = runs[0]
    difference, low, high = paired_difference(
        _total([pair(first, run)[1] for run in runs]),
        _total([pair(first, baseline)[1] for baseline in baselines]),
        num_samples=num_samples,
        seed=seed,
        level=level,
    )
    return WerDifference(
        split=split,
        run=run_name,
        baseline=baseline_name,
        difference=difference,
        low=low,
        high=high,
        level=level,
        num_seeds=len(runs),
    )


def _total(errors_of_seeds: Sequence[Sequence[WordErrors]]) -> list[WordErrors]:
    """Errors of each utterance, added up over the seeds."""
    return [WordErrors.total(errors) for errors in zip(*errors_of_seeds, strict=True)]
