from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.nn.dropout import CHUNK, Dropout, DropoutDraw, keep_

N = 4 * CHUNK + 3  # several chunks, the last of them short


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_and_the_others_scaled(
    rate: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)

    dropped = Dropout(rate).train()(torch.ones(N, dtype=dtype))

    share = (dropped == 0).double().mean().item()
    assert share == pytest.approx(rate, abs=5 * (rate * (1 - rate) / N) ** 0.5)
    kept = dropped[dropped != 0].double()
    assert kept.unique().tolist() == pytest.approx([1 / (1 - rate)], rel=1e-2)


def test_neighbours_are_dropped_independently() -> None:
    """Four entries share a random number."""
    torch.manual_seed(0)
    dropped = (DropoutDraw.at(0.3).apply(torch.ones(N)) == 0).double()  # type: ignore[union-attr]

    for distance in range(1, 6):
        both = (dropped[distance:] * dropped[:-distance]).mean().item()
        assert both == pytest.approx(0.09, abs=5e-3), distance


def test_the_gradient_passes_where_the_input_did() -> None:
    x = torch.randn(3, 5, 7).transpose(0, 1).requires_grad_()

    dropped = Dropout(0.4).train()(x)
    (gradient,) = torch.autograd.grad(dropped.sum(), x)

    torch.testing.assert_close(gradient * x, dropped)
    assert (gradient == 0).any()


def test_nothing_is_kept_for_the_gradient() -> None:
    kept: list[Tensor] = []
    x = torch.randn(50, requires_grad=True)

    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t), lambda t: t):
        dropped = Dropout(0.4).train()(x)

    assert dropped.requires_grad
    assert not kept


def test_torch_seeds_the_draw() -> None:
    module, x = Dropout(0.5).train(), torch.ones(200)
    torch.manual_seed(5)
    first, second = module(x), module(x)
    torch.manual_seed(5)

    assert torch.equal(module(x), first)
    assert not torch.equal(second, first)


def test_a_draw_gives_the_same_masks_again() -> None:
    draw = DropoutDraw(num_kept=2**14, seed=1)
    sizes = [torch.ones(3, 5), torch.ones(2, 2, 2), torch.ones(7)]

    once, again = draw.masks(torch.device("cpu")), draw.masks(torch.device("cpu"))

    for like in sizes:
        assert torch.equal(keep_(like.clone(), once.next(like)), keep_(like, again.next(like)))


@pytest.mark.parametrize("module", [Dropout(0.5).eval(), Dropout(0.0).train()])
def test_input_unchanged(module: Dropout) -> None:
    x = torch.randn(9)

    assert torch.equal(module(x), x)


def test_everything_may_be_dropped() -> None:
    assert not Dropout(1.0).train()(torch.randn(9)).any()
