from __future__ import annotations

import pytest
import torch
from torch import nn

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.nn.tiles import KeptRows
from asr.reuse.none import NoReuse
from asr.reuse.probs import ProbsCarry
from asr.reuse.within import ReuseWithin, WithinAttention
from tests.encoder.tiny import D_MODEL, KINDS, POSITIONS, EncoderKind, random_features, tiny_encoder

T = 6
MIX = 2 * (D_MODEL * D_MODEL + D_MODEL)


def attention(num_mixes: int, *, dropout: float = 0.0) -> WithinAttention:
    encoder = tiny_encoder(
        reuse=ReuseWithin(num_mixes=num_mixes), positions="none", dropout=dropout
    )
    module = encoder.layers[0].get_submodule("attention")
    assert isinstance(module, WithinAttention)
    return module


@pytest.mark.parametrize("num_mixes", [0, -1])
def test_fewer_than_one_mix(num_mixes: int) -> None:
    with pytest.raises(
        InputError, match=rf"^reuse\.num_mixes={num_mixes}: allowed: a whole number from 1"
    ):
        ReuseWithin(num_mixes=num_mixes)


@pytest.mark.parametrize("num_mixes", [1, 2, 4])
def test_schedule_rows(num_mixes: int) -> None:
    """Each further mix costs its parameters and those of its LayerNorm."""
    spent = (num_mixes - 1) * (MIX + 2 * D_MODEL)

    assert tiny_encoder(reuse=ReuseWithin(num_mixes=num_mixes)).schedule_rows() == [
        ScheduleRow(layer, "alone", None, 0, -spent, "within") for layer in range(4)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_one_mix_is_the_explicit_baseline_bit_by_bit(
    kind: EncoderKind, positions: PositionKind
) -> None:
    one = tiny_encoder(kind, reuse=ReuseWithin(num_mixes=1), positions=positions, seed=1)
    none = tiny_encoder(kind, reuse=NoReuse(fused=False), positions=positions, seed=2)
    one.load_state_dict(none.state_dict())
    features_BTF, lengths_B = random_features([19, 3, 12])

    with torch.no_grad():
        expected, found = none(features_BTF, lengths_B), one(features_BTF, lengths_B)

    assert torch.equal(found.frames_BTD, expected.frames_BTD)


def test_a_mix_reads_what_those_before_it_added() -> None:
    module = attention(3)
    x_BTD = torch.randn(2, T, D_MODEL)
    probs_BHTT = module.scores(x_BTD, Frames())

    output_BTD, _ = module(x_BTD, Frames(), None)

    second, third = module.further.children()
    y_1 = module.mix(x_BTD, probs_BHTT)
    y_2 = second.get_submodule("mix")(second.get_submodule("norm")(x_BTD + y_1), probs_BHTT)
    y_3 = third.get_submodule("mix")(third.get_submodule("norm")(x_BTD + y_1 + y_2), probs_BHTT)
    torch.testing.assert_close(output_BTD, y_1 + y_2 + y_3)


def test_each_mix_draws_its_own_dropout() -> None:
    """Values of one make the output of a mix the share of its rows that dropout left."""
    torch.manual_seed(0)
    module = attention(2, dropout=0.5).train()
    (further,) = module.further.children()
    for mix in (module.mix, further.get_submodule("mix")):
        nn.init.zeros_(mix.get_parameter("value.weight"))
        nn.init.ones_(mix.get_parameter("value.bias"))
        nn.init.eye_(mix.get_parameter("output.weight"))
        nn.init.zeros_(mix.get_parameter("output.bias"))
    shares: list[torch.Tensor] = []
    for mix in (module.mix, further.get_submodule("mix")):
        mix.get_submodule("output").register_forward_hook(
            lambda _, __, output: shares.append(output)
        )

    module(torch.randn(2, T, D_MODEL), Frames(), None)

    first, second = shares
    assert first.std() > 0.1
    assert second.std() > 0.1
    assert not torch.equal(first, second)


def test_a_carry_passes_by() -> None:
    given = ProbsCarry(KeptRows((torch.ones(1, 2, T, T),)))
    _, handed_on = attention(2)(torch.randn(1, T, D_MODEL), Frames(), given)

    assert handed_on is given
