from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from asr.errors import InputError
from asr.nn.frames import Frames, padding_mask
from asr.nn.positions import PositionKind
from asr.profiling.cost import multiply_adds
from asr.reuse.local import Local
from asr.reuse.none import NoReuse
from tests.encoder.tiny import D_MODEL, NUM_HEADS, POSITIONS, random_features, tiny_encoder

each_position = pytest.mark.parametrize("positions", POSITIONS)


def attention(positions: PositionKind, width: int, dropout: float = 0.0) -> Any:
    encoder = tiny_encoder(reuse=Local(width=width), positions=positions, dropout=dropout)
    return encoder.layers[0].get_submodule("attention")


def frames_of(positions: PositionKind, lengths: list[int]) -> tuple[Tensor, Frames]:
    x_BTD = torch.randn(len(lengths), max(lengths), D_MODEL)
    table = tiny_encoder(positions=positions).positions.table(
        max(lengths), D_MODEL, NUM_HEADS, x_BTD
    )
    return x_BTD, Frames(padding_mask(torch.tensor(lengths), max(lengths)), table)


@pytest.mark.parametrize("width", [0, -1])
def test_a_window_of_nothing(width: int) -> None:
    with pytest.raises(InputError, match=f"^reuse.width={width}: allowed: a whole number from 1"):
        tiny_encoder(reuse=Local(width=width))


@each_position
@pytest.mark.parametrize("width", [15, 16, 500])
def test_a_window_over_everything_is_full_attention(positions: PositionKind, width: int) -> None:
    local = tiny_encoder(reuse=Local(width=width), positions=positions)
    full = tiny_encoder(reuse=NoReuse(), positions=positions)
    features = random_features([64, 13])  # 16 frames

    with torch.no_grad():
        found, expected = local(*features), full(*features)

    for row, length in enumerate(found.lengths_B):
        torch.testing.assert_close(
            found.frames_BTD[row, :length], expected.frames_BTD[row, :length], atol=1e-5, rtol=1e-5
        )


@each_position
@pytest.mark.parametrize("width", [1, 3])
def test_what_is_out_of_sight_changes_nothing(positions: PositionKind, width: int) -> None:
    module = attention(positions, width)
    x_BTD, frames = frames_of(positions, [12])
    output_BTD, _ = module(x_BTD, frames, None)
    x_BTD[:, 6] += 1.0
    changed_BTD, _ = module(x_BTD, frames, None)

    moved = ((output_BTD - changed_BTD).abs().amax((0, 2)) > 0).nonzero().flatten().tolist()
    assert moved == list(range(6 - width, 6 + width + 1))


@each_position
def test_rows_that_see_padding_only_are_numbers_and_leak_nothing(positions: PositionKind) -> None:
    module = attention(positions, 2).train()
    x_BTD, frames = frames_of(positions, [12, 1])
    x_BTD.requires_grad_()

    output_BTD, _ = module(x_BTD, frames, None)
    leaves = [x_BTD, *module.parameters()]
    gradient_BTD, *others = torch.autograd.grad(output_BTD[1, :1].square().sum(), leaves)

    assert output_BTD.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in others)
    assert gradient_BTD[1, 0].abs().sum() > 0
    assert not gradient_BTD[1, 1:].any()
    everything = torch.autograd.grad(module(x_BTD, frames, None)[0].sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in everything)


@each_position
def test_twice_the_length_is_twice_the_cost(positions: PositionKind) -> None:
    module = attention(positions, 16)

    def cost(num_frames: int) -> int:
        return multiply_adds(module, *frames_of(positions, [num_frames]), None)

    step = cost(1280) - cost(640)
    assert cost(2560) - cost(1280) == 2 * step


def test_dropout_falls_on_the_map_in_training_only() -> None:
    torch.manual_seed(0)
    module = attention("none", 2, dropout=0.5)
    torch.nn.init.zeros_(module.mix.value.weight)
    torch.nn.init.ones_(module.mix.value.bias)
    torch.nn.init.eye_(module.mix.output.weight)
    torch.nn.init.zeros_(module.mix.output.bias)
    x_BTD, frames = frames_of("none", [12])

    whole = module(x_BTD, frames, None)[0]
    with torch.no_grad():
        dropped = torch.stack([module.train()(x_BTD, frames, None)[0] for _ in range(200)])

    torch.testing.assert_close(whole, torch.ones_like(whole))
    assert dropped.std() > 0.1
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.1)
