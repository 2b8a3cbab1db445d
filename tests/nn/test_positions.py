"""What every position encoding promises: attending is the softmax of its scores times values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from asr.nn import relative
from asr.nn.attention import softmax_over_keys
from asr.nn.masking import padding_mask
from asr.nn.positions import Positions, key_mask
from asr.nn.relative import RelativePositions
from asr.nn.rotary import RotaryPositions
from tests.encoder.tiny import randomise

H, K = 2, 4

MAKERS: dict[str, Callable[[], Positions]] = {
    "none": Positions,
    "rotary": RotaryPositions,
    "relative": lambda: RelativePositions(d_model=H * K, num_heads=H),
}
LENGTHS = [[1], [7], [7, 7], [7, 1, 4], [2, 1]]

each_encoding = pytest.mark.parametrize("name", list(MAKERS))
each_batch = pytest.mark.parametrize("lengths", LENGTHS, ids=str)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relative, "TILE_ROWS", 3)


def make(name: str) -> Positions:
    module = MAKERS[name]()
    randomise(module)
    return module


def inputs(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    shape = (len(lengths), H, max(lengths), K)
    q_BHTK, k_BHTK, v_BHTK = (torch.randn(shape) for _ in range(3))
    return q_BHTK, k_BHTK, v_BHTK, padding_mask(torch.tensor(lengths), max(lengths))


def explicit(
    module: Positions, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None, mask: Tensor | None
) -> Tensor:
    return softmax_over_keys(module.scores(q, k, table), mask) @ v


@each_encoding
@each_batch
@pytest.mark.parametrize("grad", [True, False])
def test_attend_is_softmax_of_scores_times_values(
    name: str, lengths: list[int], grad: bool
) -> None:
    module, (q, k, v, mask) = make(name), inputs(lengths)
    table = module.table(max(lengths), H * K, H, q)

    with torch.set_grad_enabled(grad):
        context_BHTK = module.attend(q, k, v, table, mask, 0.0)
        expected_BHTK = explicit(module, q, k, v, table, mask)

    torch.testing.assert_close(context_BHTK, expected_BHTK, atol=1e-5, rtol=1e-5)


@each_encoding
@each_batch
def test_gradients_of_attend_equal_those_of_the_explicit_path(
    name: str, lengths: list[int]
) -> None:
    module, (q, k, v, mask) = make(name), inputs(lengths)
    table = module.table(max(lengths), H * K, H, q)
    weight = torch.randn(q.shape)
    parameters = list(module.parameters())

    gradients = []
    for fused in (True, False):
        leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
        q_leaf, k_leaf, v_leaf = leaves
        if fused:
            context = module.attend(q_leaf, k_leaf, v_leaf, table, mask, 0.0)
        else:
            context = explicit(module, q_leaf, k_leaf, v_leaf, table, mask)
        gradients.append(torch.autograd.grad((context * weight).sum(), [*leaves, *parameters]))

    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert float(gradients[0][2].abs().sum()) > 0


@each_encoding
def test_padding_is_never_attended_to(name: str) -> None:
    module, (q, k, v, mask) = make(name), inputs([7, 4])
    table = module.table(7, H * K, H, q)
    once = module.attend(q, k, v, table, mask, 0.0)
    k, v = k.clone(), v.clone()
    k[1, :, 4:], v[1, :, 4:] = 1e4, 1e4

    assert torch.equal(module.attend(q, k, v, table, mask, 0.0), once)


@each_encoding
def test_queries_and_keys_are_left_as_they_were(name: str) -> None:
    module, (q, k, v, mask) = make(name), inputs([7, 4])
    table = module.table(7, H * K, H, q)
    before = [tensor.clone() for tensor in (q, k, v)]

    with torch.no_grad():
        module.attend(q, k, v, table, mask, 0.0)
        softmax_over_keys(module.scores(q, k, table), mask)

    for tensor, copy in zip((q, k, v), before, strict=True):
        assert torch.equal(tensor, copy)


@each_encoding
def test_dropout_falls_on_the_map(name: str) -> None:
    """With values of one, a context is the share of a row that dropout left, scaled back up."""
    torch.manual_seed(0)
    module, (q, k, v, _) = make(name), inputs([7, 7])
    table = module.table(7, H * K, H, q)
    v = torch.ones_like(v)

    with torch.no_grad():
        kept = torch.cat([module.attend(q, k, v, table, None, 0.5).flatten() for _ in range(50)])

    assert kept.std() > 0.1
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.1)


def test_scores_without_positions_are_scaled_products() -> None:
    q, k, _, _ = inputs([5, 5])

    torch.testing.assert_close(
        Positions().scores(q, k, None), torch.einsum("bhik,bhjk->bhij", q, k) / K**0.5
    )
    assert Positions.table(5, H * K, H, q) is None


def test_key_mask_allows_what_is_not_padding() -> None:
    allowed = key_mask(torch.tensor([[False, True]]))

    assert allowed is not None
    assert allowed.tolist() == [[[[True, False]]]]
    assert key_mask(None) is None
