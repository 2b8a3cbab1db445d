"""The gradient of every method is that of what it computes, as differences of outputs say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from asr.nn import positions as tiling
from asr.nn.frames import Frames, padding_mask
from asr.nn.positions import PositionKind
from tests.encoder.tiny import D_MODEL, POSITIONS
from tests.equivalence.cases import CASES, Case
from tests.pairwise import pairwise

LENGTHS = [5, 1, 3]
ALONE = {
    name: case
    for name, case in CASES.items()
    if case.leaders == list(range(len(case.leaders))) and not name.startswith("absent-every")
}


@pairwise(case=ALONE, positions=POSITIONS)
def test_gradients_of_a_layer_that_attends_for_itself(
    monkeypatch: pytest.MonkeyPatch, case: Case, positions: PositionKind
) -> None:
    """In training mode, of a padded batch, with respect to the input and every parameter."""
    monkeypatch.setattr(tiling, "TILE_ROWS", 2)
    encoder = case.encoder(positions=positions).double().train()
    attention = encoder.layers[0].get_submodule("attention")
    names, parameters = zip(*attention.named_parameters(), strict=True)
    x_BTD = torch.randn(len(LENGTHS), max(LENGTHS), D_MODEL, dtype=torch.double)
    mask = padding_mask(torch.tensor(LENGTHS), max(LENGTHS))
    table = encoder.positions.table(max(LENGTHS), D_MODEL, case.num_heads, x_BTD)
    frames = Frames(mask, table)
    assert mask is not None

    def output(x_BTD: Tensor, *values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        output_BTD, _ = functional_call(attention, given, (x_BTD, frames, None))
        valid: Tensor = output_BTD[~mask]
        return valid

    leaves = [tensor.detach().requires_grad_() for tensor in (x_BTD, *parameters)]
    assert torch.autograd.gradcheck(output, leaves, fast_mode=True)
    gradient_BTD, *_ = torch.autograd.grad(output(*leaves).square().sum(), leaves)
    assert not gradient_BTD[mask].any(), "padding leaks"
