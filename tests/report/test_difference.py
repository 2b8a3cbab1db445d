from collections.abc import Sequence

import pytest

from asr.report.difference import WerDifference, wer_difference
from asr.report.hypotheses import ScoredUtterance, score
from asr.types import InputError, UtteranceResult

REFS = [f"w{i} x y z" for i in range(100)]


def scored(hyps: Sequence[str], refs: Sequence[str] = REFS) -> list[ScoredUtterance]:
    return [
        score(UtteranceResult(utterance_id=f"u{i}", hyp=hyp, duration_s=1.5, ref=ref))
        for i, (ref, hyp) in enumerate(zip(refs, hyps, strict=True))
    ]


GOOD, BAD = scored(REFS), scored(["x y z"] * 100)


def difference_of(
    runs: Sequence[list[ScoredUtterance]], baselines: Sequence[list[ScoredUtterance]]
) -> WerDifference:
    return wer_difference(
        runs, baselines, split="test", run_name="probs", baseline_name="none", num_samples=200
    )


def test_of_one_seed_in_words() -> None:
    difference = difference_of([BAD], [GOOD[::-1]])
    assert (difference.difference, difference.low, difference.high) == (25.0, 25.0, 25.0)
    assert str(difference) == (
        "test: probs minus none is +25.00 WER points, 95% interval +25.00 to +25.00 (paired "
        "bootstrap over utterances; training seeds vary beyond it)"
    )


def test_seeds_are_added_up_utterance_by_utterance() -> None:
    """What one seed loses another wins back: utterances differ, their sums do not."""
    half = scored([ref if i % 2 else "x y z" for i, ref in enumerate(REFS)])
    other_half = scored(["x y z" if i % 2 else ref for i, ref in enumerate(REFS)])
    difference = difference_of([half, other_half[::-1]], [GOOD, GOOD])
    assert (difference.difference, difference.low, difference.high) == (12.5, 12.5, 12.5)
    assert str(difference).endswith(
        "(paired bootstrap over utterances with their errors of 2 seeds)"
    )
    assert difference_of([half], [GOOD]).low < 12.5


def test_a_seed_with_other_utterances() -> None:
    with pytest.raises(InputError, match="'u99' is in one only"):
        difference_of([BAD, BAD[:-1]], [GOOD, GOOD])
    with pytest.raises(InputError, match="'u99' is in one only"):
        difference_of([BAD, BAD], [GOOD, GOOD[:-1]])
