from dataclasses import replace

import pytest

from asr.metrics.wer import WordErrors
from asr.report.record import SplitWer
from asr.report.rows import by_seed, latency_points, pays_from_s, seeds_row, to_row
from tests.report.comparisons import seeds
from tests.report.records import TRAINING, probs_record

RECORD = probs_record()


def test_smallest_batch_size_is_shown_shortest_length_first() -> None:
    short, long = RECORD.latency
    crowd = replace(short, batch_size=8, median_ms=1000.0)
    shuffled = replace(RECORD, latency=(long, crowd, short))
    assert list(latency_points(shuffled)) == ["15", "60"]
    assert to_row(shuffled).latency["15"].median_ms == 40.0


@pytest.mark.parametrize(
    ("speedups", "expected"),
    [
        ([0.9, 1.1, 1.2], 15.0),
        ([1.1, 0.9, 1.2], 60.0),  # a lucky short length does not count
        ([1.1, 1.2, 0.9], None),
        ([1.0, 1.0, 1.0], None),
        ([2.0, 2.0, 2.0], 5.0),
    ],
)
def test_length_from_which_reuse_pays(speedups: list[float], expected: float | None) -> None:
    point = RECORD.latency[0]
    fused = point.baselines["fused"]
    curve = tuple(
        replace(point, length_s=length_s, baselines={"fused": replace(fused, speedup=speedup)})
        for length_s, speedup in zip([5.0, 15.0, 60.0], speedups, strict=True)
    )
    record = replace(RECORD, latency=curve)
    assert pays_from_s(record, "fused") == expected
    assert pays_from_s(record, "explicit") is None


def test_the_row_of_a_schedule_has_the_means_of_its_seeds() -> None:
    first, second = seeds(RECORD, 2)
    second = replace(
        second,
        wer={"test": SplitWer.from_errors([WordErrors(4, 2, 2, 20)], cer=9.0)},
        training=replace(TRAINING, train_s=414.0),
    )
    (group,) = by_seed([first, second])
    row = seeds_row(group)
    score = row.wer["test"]
    assert (row.run, row.train_s) == (group.name, 364.0)
    assert (score.wer, score.low, score.high, score.num_seeds) == (30.0, 20.0, 40.0, 2)
    assert (score.sub, score.del_, score.ins, score.words, score.cer) == (3.0, 1.5, 1.5, 20.0, 9.0)
    assert row.latency == to_row(first).latency


def test_a_rate_of_no_words_is_left_out_of_the_mean() -> None:
    first, second = seeds(RECORD, 2)
    empty = replace(first, wer={"test": SplitWer.from_errors([WordErrors()])})
    (group,) = by_seed([empty, second])
    score = seeds_row(group).wer["test"]
    assert (score.wer, score.num_seeds) == (20.0, 1)
    (group,) = by_seed([empty, replace(second, wer=empty.wer)])
    assert seeds_row(group).wer["test"].wer is None
