from __future__ import annotations

import pytest
import torch

from asr.metrics.attention import StreamingMean


def test_it_is_the_mean_of_all_at_once() -> None:
    values = torch.randn(50, 3, 2)
    mean = StreamingMean()
    for value in values:
        mean.add(value)
    assert torch.allclose(mean.mean, values.double().mean(0))
    assert mean.count == 50


def test_elements_may_have_counts_of_their_own() -> None:
    mean = StreamingMean()
    mean.add(torch.tensor([[6.0, 0.0]]), torch.tensor([2, 0]))
    mean.add(torch.tensor([[3.0, 0.0]]), torch.tensor([1, 0]))
    assert mean.mean[0, 0] == 3.0
    assert mean.mean[0, 1].isnan()
    assert mean.count.tolist() == [3, 0]


def test_many_small_numbers_are_not_lost() -> None:
    mean = StreamingMean()
    mean.add(torch.tensor(2.0**30))
    for _ in range(100):
        mean.add(torch.tensor(1.0))  # float32 would round each of them away
    assert float(mean.mean) * 101 == pytest.approx(2.0**30 + 100, rel=1e-12)


def test_empty() -> None:
    assert StreamingMean().is_empty
    with pytest.raises(AssertionError, match="nothing was added"):
        _ = StreamingMean().mean
