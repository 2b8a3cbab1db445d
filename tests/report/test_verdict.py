from __future__ import annotations

from dataclasses import replace

import pytest

from asr.report.hypotheses import WerDifference
from asr.report.points import BaselineTiming
from asr.report.record import LearningPoint, RunRecord
from asr.report.verdict import not_learnt, scatter_warnings, verdict
from tests.report.comparisons import bench_record, seeds
from tests.report.records import none_record, probs_record

QUIET = BaselineTiming(median_ms=48.0, p90_ms=49.0, speedup=1.2, low=1.15, high=1.25)
NONE = none_record()


def timed(record: RunRecord, timing: BaselineTiming = QUIET) -> RunRecord:
    """The record with rounds that agree, beside this fused baseline."""
    points = tuple(
        replace(p, median_ms=40.0, p90_ms=41.0, baselines={"fused": timing}) for p in record.latency
    )
    return replace(record, latency=points)


def with_wer(record: RunRecord, percent: float) -> RunRecord:
    return replace(record, wer={"test": replace(NONE.wer["test"], wer=percent)})


def difference(split: str = "test", p_holm: float | None = 0.3) -> WerDifference:
    return WerDifference(
        split=split, run="probs", baseline="none", difference=-2.82, low=-3.98, high=-1.81,
        level=0.95, num_seeds=3, num_baseline_seeds=3, p=p_holm, p_holm=p_holm,
    )  # fmt: skip


RECORDS = [*seeds(timed(NONE), 3), *seeds(timed(probs_record()), 3)]


def test_a_sentence_with_speed_and_wer() -> None:
    (text,) = verdict(RECORDS, [difference(), difference("dev")])
    assert text == (
        "probs is 1.20x [1.15, 1.25] as fast as none at 15 s of audio and does not differ "
        "significantly from none in WER with 3 seeds on test, dev."
    )
    (text,) = verdict(RECORDS, [difference(p_holm=0.01)])
    assert text.endswith("and is 2.82 WER points better than none with 3 seeds on test.")
    (text,) = verdict(RECORDS, [difference(p_holm=None)])
    assert text.endswith(
        "differs from none by -2.82 WER points with one seed (no finding) on test."
    )


def test_a_speed_within_the_scatter_of_rounds_is_no_speed_up() -> None:
    wide = replace(QUIET, low=0.9, high=1.4)
    (text,) = verdict([timed(NONE), timed(probs_record(), wide)])
    assert text == (
        "probs does not differ significantly from none in speed at 15 s of audio "
        "(1.20x [0.90, 1.40])."
    )


def test_no_winner_is_named_by_runs_that_have_not_learnt() -> None:
    records = [with_wer(record, 73.0) for record in RECORDS]
    warning, sentence = verdict(records, [difference(p_holm=0.001)])
    assert warning.startswith("Warning, not learnt: none-seed0 (WER 73 %); none-seed1 (WER 73 %);")
    assert "Such runs do not show which schedule is better." in warning
    assert sentence.endswith("and cannot be judged by its errors (not learnt).")
    assert "better" not in sentence


@pytest.mark.parametrize(
    ("dev", "is_flagged"),
    [
        ([68.0, 24.0, 5.7, 3.8], False),  # the fall of a run that ends
        ([90.0, 70.0, 45.0, 30.0], True),
        ([40.0, 30.0, 30.0, 31.0], False),
        ([80.0], False),
        ([], False),
    ],
)
def test_a_run_whose_wer_still_falls_has_not_learnt(dev: list[float], is_flagged: bool) -> None:
    points = tuple(LearningPoint(step=100 * n, dev_wer=wer) for n, wer in enumerate(dev, start=1))
    reason = not_learnt(replace(NONE, learning=points))
    assert (reason is not None) == is_flagged
    if is_flagged:
        assert reason == "dev WER still falling, by 15 points in the last 25% of the steps"


@pytest.mark.parametrize(("wers", "is_flagged"), [((19.0, 10.0), False), ((21.0, 10.0), True)])
def test_few_validations_are_judged_by_the_steps_between(
    wers: tuple[float, float], is_flagged: bool
) -> None:
    points = tuple(
        LearningPoint(step=step, dev_wer=wer) for step, wer in zip((2500, 5000), wers, strict=True)
    )
    reason = not_learnt(replace(NONE, learning=points))
    expected = "dev WER still falling, by 11 points in the last 50% of the steps"
    assert reason == (expected if is_flagged else None)
    assert not_learnt(replace(NONE, learning=(points[0], replace(points[1], step=2500)))) is None


def test_a_hard_split_alone_does_not_say_that_a_run_has_not_learnt() -> None:
    good, bad = (replace(NONE.wer["test"], wer=wer) for wer in (3.0, 80.0))
    assert not_learnt(replace(NONE, wer={"test": good, "far": bad})) is None
    assert not_learnt(replace(NONE, wer={"test": bad})) == "WER 80 %"
    assert not_learnt(bench_record()) is None


def test_rounds_that_scatter_are_warned_about() -> None:
    (text,) = scatter_warnings([NONE])  # a p90 of 1.4 times the median
    assert text.startswith("Warning, rounds scatter: ")
    assert "15 s (1.40 times), 60 s (1.40 times)" in text
    assert list(scatter_warnings([timed(NONE)])) == []


def test_a_single_run_says_what_it_reached() -> None:
    (text,) = verdict([timed(NONE)])
    assert text == (
        "none has 20.00 % WER [10.00, 30.00] on test and takes 40.0 ms to encode 15 s of audio."
    )
