"""What a follower does not have, and what it takes from its leader."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.encoder.stack import Encoder
from asr.nn.frames import Frames
from asr.nn.masking import padding_mask
from asr.nn.positions import PositionKind
from asr.reuse.base import AttentionCarry
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from tests.encoder.tiny import (
    D_MODEL,
    KINDS,
    NUM_HEADS,
    POSITIONS,
    EncoderKind,
    random_features,
    tiny_encoder,
)
from tests.equivalence.cases import GROUPINGS

MIX = {"mix.value.weight", "mix.value.bias", "mix.output.weight", "mix.output.bias"}
SCORES = {
    "scores.query.weight",
    "scores.query.bias",
    "scores.key.weight",
    "scores.key.bias",
}
POSITION: dict[PositionKind, set[str]] = {
    "none": set(),
    "rotary": set(),
    "relative": {
        "scores.positions.position.weight",
        "scores.positions.content_bias_HK",
        "scores.positions.position_bias_HK",
    },
}

each_kind = pytest.mark.parametrize("kind", KINDS)
each_position = pytest.mark.parametrize("positions", POSITIONS)
each_grouping = pytest.mark.parametrize("name", list(GROUPINGS))


def attention(encoder: Encoder, layer: int) -> Any:
    return encoder.layers[layer].get_submodule("attention")


@each_kind
@each_position
@each_grouping
def test_state_holds_exactly_the_parameters_of_each_role(
    kind: EncoderKind, positions: PositionKind, name: str
) -> None:
    reuse, leaders = GROUPINGS[name]
    encoder = tiny_encoder(kind, reuse=reuse, positions=positions)

    for layer, leader in enumerate(leaders):
        expected = MIX if leader != layer else MIX | SCORES | POSITION[positions]
        assert set(attention(encoder, layer).state_dict()) == expected


@each_kind
@each_position
@each_grouping
def test_nothing_but_scores_is_gone_from_the_baseline(
    kind: EncoderKind, positions: PositionKind, name: str
) -> None:
    reuse, leaders = GROUPINGS[name]
    encoder = tiny_encoder(kind, reuse=reuse, positions=positions)
    baseline = tiny_encoder(kind, reuse=NoReuse(), positions=positions)
    gone = {
        f"layers.{layer}.attention.{key}"
        for layer, leader in enumerate(leaders)
        if leader != layer
        for key in SCORES | POSITION[positions]
    }

    assert set(baseline.state_dict()) - set(encoder.state_dict()) == gone
    assert set(encoder.state_dict()) <= set(baseline.state_dict())


@each_grouping
def test_followers_name_no_query_key_or_position(name: str) -> None:
    reuse, leaders = GROUPINGS[name]
    encoder = tiny_encoder(reuse=reuse)

    for layer, leader in enumerate(leaders):
        names = [name for name, _ in encoder.layers[layer].named_parameters()]
        if leader != layer:
            assert not [n for n in names if "query" in n or "key" in n or "position" in n]


def valid_sum(output_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    weight_BTD = torch.randn(output_BTD.shape, generator=torch.Generator().manual_seed(3))
    mask = padding_mask(lengths_B, output_BTD.shape[1])
    assert mask is not None
    return (output_BTD * weight_BTD).masked_fill(mask.unsqueeze(-1), 0.0).sum()


@each_kind
@each_position
@each_grouping
def test_every_parameter_gets_a_gradient(
    kind: EncoderKind, positions: PositionKind, name: str
) -> None:
    encoder = tiny_encoder(kind, reuse=GROUPINGS[name][0], positions=positions).train()

    output = encoder(*random_features([30, 13]))
    torch.autograd.backward(valid_sum(output.frames_BTD, output.lengths_B))

    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        if not parameter_name.endswith("key.bias"):  # shifts a row of scores: softmax forgets it
            assert parameter.grad.abs().sum() > 0, parameter_name


@each_position
def test_a_follower_teaches_its_leader_where_to_look(positions: PositionKind) -> None:
    """With the leader's own use of the map cut off, its queries and keys learn from followers."""
    encoder = tiny_encoder(reuse=ReuseProbs(pattern="LAF"), positions=positions, num_layers=3)
    leader, follower = attention(encoder, 0), attention(encoder, 2)
    nn.init.zeros_(leader.mix.output.weight)

    def leader_gradient() -> float:
        output = encoder(*random_features([30, 13]))
        query, key = leader.scores.query.weight, leader.scores.key.weight
        gradients = torch.autograd.grad(
            valid_sum(output.frames_BTD, output.lengths_B), [query, key], allow_unused=True
        )
        return float(min(0.0 if g is None else g.abs().sum() for g in gradients))

    assert leader_gradient() > 1e-3

    nn.init.zeros_(follower.mix.output.weight)
    assert leader_gradient() < 1e-6


def run_attention(module: Any, x_BTD: Tensor, carry: AttentionCarry | None) -> tuple[Tensor, Any]:
    output, carry = module(x_BTD, Frames(), carry)
    return output, carry


def test_dropout_falls_on_the_map_per_layer_while_the_carry_stays_whole() -> None:
    torch.manual_seed(0)
    encoder = tiny_encoder(
        "transformer",
        reuse=ReuseProbs(group_size=3),
        positions="none",
        num_layers=3,
        dropout=0.5,
    ).train()
    leader, first, second = (attention(encoder, layer) for layer in range(3))
    second.load_state_dict(first.state_dict())
    x_BTD = torch.randn(2, 6, D_MODEL)

    _, carry = run_attention(leader, x_BTD, None)
    carried = carry.probs_BHTT.clone()
    one, carry_one = run_attention(first, x_BTD, carry)
    two, carry_two = run_attention(second, x_BTD, carry_one)

    assert carried.shape == (2, NUM_HEADS, 6, 6)
    torch.testing.assert_close(carried.sum(-1), torch.ones(2, NUM_HEADS, 6))
    assert (carried > 0).all(), "dropout would have left zeros"
    assert not torch.equal(one, two), "each layer draws its own mask"
    assert carry_one is carry
    assert carry_two is carry
    assert torch.equal(carry.probs_BHTT, carried)


@pytest.mark.parametrize("grad", [True, False])
def test_the_carry_survives_its_users(grad: bool) -> None:
    """Inference works in place in many spots; none of them may be the map that is handed on."""
    encoder = tiny_encoder(reuse=ReuseProbs(group_size=4))
    x_BTD = torch.randn(2, 6, D_MODEL)
    table = encoder.positions.table(6, D_MODEL, NUM_HEADS, x_BTD)
    frames = Frames(padding_mask(torch.tensor([6, 4]), 6), table)

    with torch.set_grad_enabled(grad):
        _, carry = attention(encoder, 0)(x_BTD, frames, None)
        before = carry.probs_BHTT.clone()
        for layer in range(1, 4):
            x_BTD, carry = encoder.layers[layer](x_BTD, frames, carry)

    assert torch.equal(carry.probs_BHTT, before)


def test_the_map_of_the_leader_is_what_a_follower_mixes_with() -> None:
    encoder = tiny_encoder(reuse=ReuseProbs(group_size=4))
    follower = attention(encoder, 1)
    x_BTD = torch.randn(1, 5, D_MODEL)
    identity = torch.eye(5).expand(1, NUM_HEADS, 5, 5)

    output_BTD, _ = run_attention(follower, x_BTD, AttentionCarry(probs_BHTT=identity))

    own = follower.mix
    torch.testing.assert_close(output_BTD, own.output(own.value(x_BTD)))


@pytest.mark.parametrize("num_frames", [5, 7, 12])
def test_a_map_over_another_frame_rate_is_refused(num_frames: int) -> None:
    encoder = tiny_encoder(reuse=ReuseProbs(group_size=4))
    carry = AttentionCarry(probs_BHTT=torch.full((1, NUM_HEADS, 6, 6), 1 / 6))

    with pytest.raises(ValueError, match=f"6 frames .* {num_frames} frames"):
        encoder.layers[1](torch.randn(1, num_frames, D_MODEL), Frames(), carry)


def test_a_new_leader_replaces_the_map_and_an_alone_layer_passes_it_by() -> None:
    encoder = tiny_encoder(reuse=ReuseProbs(pattern="LAFLF"), positions="none", num_layers=5)
    x_BTD = torch.randn(1, 5, D_MODEL)
    carries = []
    carry: AttentionCarry | None = None
    for layer in encoder.layers:
        x_BTD, carry = layer(x_BTD, Frames(), carry)
        carries.append(carry)

    assert carries[0] is carries[1] is carries[2]
    assert carries[3] is not carries[2]
    assert carries[3] is carries[4]
