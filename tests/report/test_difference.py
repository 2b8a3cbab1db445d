from collections.abc import Sequence
from dataclasses import replace

import pytest

from asr.errors import InputError
from asr.report.hypotheses import ScoredUtterance, WerDifference, corrected, score, wer_difference
from asr.types import UtteranceResult

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


def test_one_seed_is_said_to_be_no_finding() -> None:
    difference = difference_of([BAD], [GOOD[::-1]])
    assert (difference.difference, difference.low, difference.high) == (25.0, 25.0, 25.0)
    assert not difference.is_finding
    assert difference.verdict == "differs from none by +25.00 WER points with one seed (no finding)"
    assert str(difference) == (
        "test: probs minus none +25.00, 95% interval +25.00 to +25.00 WER points over 100 "
        "utterances only; one seed is not a finding, since another training may reverse it"
    )


def test_seeds_that_differ_are_not_told_apart() -> None:
    """The mean is worse by 12.5 points, but one seed of two is as good as the baseline."""
    difference = difference_of([GOOD, BAD[::-1]], [GOOD, GOOD])
    assert difference.difference == 12.5
    assert difference.verdict == "does not differ significantly from none in WER with 2 seeds"
    assert str(difference).startswith(f"test: probs {difference.verdict} (probs minus none +12")
    assert difference.low < 0 < difference.high


def test_a_difference_of_every_seed_is_a_finding() -> None:
    half, other_half = (
        scored(["x y z" if i % 2 == odd else ref for i, ref in enumerate(REFS)]) for odd in range(2)
    )
    difference = difference_of([half, other_half, half], [GOOD, GOOD])
    assert difference.is_finding
    assert difference.verdict == "is 12.50 WER points worse than none with 3 and 2 seeds"
    assert "over seeds and 100 utterances" in str(difference)


def test_speakers_are_drawn_where_they_are_known() -> None:
    good, bad = (
        [replace(one, speaker=f"s{i // 50}") for i, one in enumerate(run)] for run in (GOOD, BAD)
    )
    difference = difference_of([bad, bad], [good, good])
    assert (difference.unit, difference.num_units) == ("speakers", 2)
    assert "2 speakers" in str(difference)


def test_a_table_is_corrected_for_its_schedules() -> None:
    base = replace(difference_of([BAD, BAD], [GOOD, GOOD]), p=None, p_holm=None)
    ps = {"a": 0.02, "b": 0.03, "c": 0.5, "one seed": None}
    table = [replace(base, run=run, p=p, p_holm=p) for run, p in ps.items()]
    other_split = replace(base, split="dev", run="a", p=0.04, p_holm=0.04)
    *found, dev = corrected([*table, other_split])
    assert [one.p_holm for one in found] == pytest.approx([0.06, 0.06, 0.5, None])
    assert not any(one.is_finding for one in found)
    assert "p 0.06 by Holm over 3 schedules" in str(found[0])
    assert (dev.p_holm, dev.is_finding) == (0.04, True)


def test_a_seed_with_other_utterances() -> None:
    with pytest.raises(InputError, match="'u99' is in one only"):
        difference_of([BAD, BAD[:-1]], [GOOD, GOOD])
    with pytest.raises(InputError, match="'u99' is in one only"):
        difference_of([BAD, BAD], [GOOD, GOOD[:-1]])
