"""Times of SVD-softmax beside whole layers, where it begins to pay, and agreement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from asr.measure.svd_softmax import LayerTimes, agreement, default_sizes, pays_from, time_layers
from asr.nn.svd_softmax import SvdLinear, SvdSoftmax
from asr.profiling.latency import Timing

WIDTH, NUM_WORDS = 16, 300


def spec(preview_width: int, refined_words: int) -> SvdSoftmax:
    return SvdSoftmax(outputs=(), preview_width=preview_width, refined_words=refined_words)


def test_layers_are_timed_by_rising_number_of_words() -> None:
    found = [*time_layers(WIDTH, spec(4, 20), num_states=3, sizes=[200, 50], num_threads=1)]
    assert [one.num_words for one in found] == [50, 200]
    assert all(one.whole.median_ms > 0 and one.decomposed.median_ms > 0 for one in found)
    cost = WIDTH**2 + 200 * 4 + 20 * (WIDTH - 4)
    assert found[1].multiply_adds == pytest.approx(cost / (200 * WIDTH))


@pytest.mark.parametrize(
    ("width", "refined", "first", "last"),
    [(512, 2048, 4096, 1 << 18), (64, 10, 1024, 1 << 19), (16_384, 9000, 18_000, 18_000)],
)
def test_sizes_hold_the_refined_words_and_fit_in_memory(
    width: int, refined: int, first: int, last: int
) -> None:
    sizes = default_sizes(width, refined)
    assert (sizes[0], sizes[-1]) == (first, last)


def times(speedups: dict[int, float], asked: list[int]) -> Iterator[LayerTimes]:
    for num_words, speedup in speedups.items():
        asked.append(num_words)
        whole, decomposed = (Timing.from_samples([ms] * 3) for ms in (speedup, 1.0))
        yield LayerTimes(num_words, whole, decomposed, 0.2)


@pytest.mark.parametrize(
    ("speedups", "expected", "num_asked"),
    [
        ({1: 0.5, 2: 0.9, 4: 1.1, 8: 1.5, 16: 2.0}, 4, 4),
        ({1: 0.5, 2: 1.2, 4: 0.9, 8: 1.5, 16: 2.0}, 8, 5),
        ({1: 0.5, 2: 0.9, 4: 1.2}, 4, 3),
        ({1: 0.5, 2: 1.2, 4: 1.0}, None, 3),
    ],
)
def test_it_pays_where_it_is_faster_twice_in_a_row(
    speedups: dict[int, float], expected: int | None, num_asked: int
) -> None:
    asked: list[int] = []
    assert pays_from(times(speedups, asked)) == expected
    assert len(asked) == num_asked


def test_agreement_is_that_of_the_log_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    whole = nn.Linear(WIDTH, NUM_WORDS)
    made = SvdLinear.of(whole, spec(2, 5))
    hidden_ND = 3 * torch.randn(150, WIDTH)
    with torch.no_grad():
        exact_NV, ours_NV = whole(hidden_ND), made(hidden_ND)
    best_N = exact_NV.argmax(1)
    error_N = (exact_NV.log_softmax(1) - ours_NV.log_softmax(1))[range(150), best_N].abs()
    normaliser_N = (exact_NV.logsumexp(1) - ours_NV.logsumexp(1)).abs()

    found = agreement(whole, made, hidden_ND)

    assert found.num_states == 150
    assert found.same_best == pytest.approx(float((ours_NV.argmax(1) == best_N).float().mean()))
    assert 0 < found.same_best < 1
    assert found.best_error == pytest.approx(float(error_N.mean()), rel=1e-4)
    assert found.worst_error == pytest.approx(float(error_N.max()), rel=1e-4)
    assert found.normaliser_error == pytest.approx(float(normaliser_N.mean()), rel=1e-4)
    exact = agreement(whole, SvdLinear.of(whole, spec(WIDTH, 1)), hidden_ND)
    assert exact.same_best == 1
    assert exact.worst_error < 1e-4
