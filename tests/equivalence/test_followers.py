"""What a follower does not have, and what it takes from its leader."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.encoder.stack import Encoder
from asr.nn.frames import Frames, padding_mask
from asr.nn.positions import PositionKind
from asr.nn.tiles import KeptRows
from asr.reuse.absent import Absent
from asr.reuse.band import ReuseBand
from asr.reuse.base import AttentionCarry, ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.linear import Linear
from asr.reuse.none import NoReuse
from asr.reuse.probs import ProbsCarry, ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.top_k import ReuseTopK
from asr.reuse.within import ReuseWithin
from tests.encoder.tiny import (
    D_MODEL,
    KINDS,
    NUM_HEADS,
    POSITIONS,
    EncoderKind,
    random_features,
    tiny_encoder,
)
from tests.equivalence.cases import CASES, GROUPINGS, REUSING, Case, each_reusing_case
from tests.pairwise import pairwise

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

OUTPUT = {"mix.output.weight", "mix.output.bias"}
CORRECTION = {
    "none": set(),
    "diagonal": {"bias_HW"},
    "low_rank": {"narrow_query.weight", "narrow_key.weight"},
}

each_kind = pytest.mark.parametrize("kind", KINDS)
each_position = pytest.mark.parametrize("positions", POSITIONS)
each_grouping = pytest.mark.parametrize("name", list(GROUPINGS))


def attention(encoder: Encoder, layer: int) -> Any:
    return encoder.layers[layer].get_submodule("attention")


@pairwise(name=list(GROUPINGS), kind=KINDS, positions=POSITIONS)
def test_state_holds_exactly_the_parameters_of_each_role(
    kind: EncoderKind, positions: PositionKind, name: str
) -> None:
    reuse, leaders = GROUPINGS[name]
    encoder = tiny_encoder(kind, reuse=reuse, positions=positions)

    for layer, leader in enumerate(leaders):
        expected = MIX if leader != layer else MIX | SCORES | POSITION[positions]
        assert set(attention(encoder, layer).state_dict()) == expected


def own_keys(case: Case, layer: int, positions: PositionKind) -> set[str]:
    """What a layer has that attends for itself, method by method."""
    place = case.place(layer)
    if isinstance(place.reuse, Absent):
        first_layer = place.reuse.first_layer
        below = place.index < (place.num_layers // 2 if first_layer is None else first_layer)
        return MIX | SCORES | POSITION[positions] if below else set()
    if isinstance(place.reuse, Linear):
        return MIX | SCORES
    if isinstance(place.reuse, ReuseContext) and case.leaders.count(layer) > 1:
        values = {"followers_value.weight", "followers_value.bias"}
        return MIX | SCORES | POSITION[positions] | values
    return MIX | SCORES | POSITION[positions] | further_keys(case)


def follower_keys(case: Case, layer: int, positions: PositionKind) -> set[str]:
    """What a follower has, method by method."""
    reuse = case.place(layer).reuse
    if isinstance(reuse, ReuseHeads):
        return MIX if reuse.num_reused == case.num_heads else MIX | SCORES | POSITION[positions]
    if isinstance(reuse, ReuseScores):
        return MIX | {f"correction.{name}" for name in CORRECTION[reuse.correction]}
    if isinstance(reuse, ReuseKeysValues):
        biases = {name for name in POSITION[positions] if name.endswith("bias_HK")}
        return OUTPUT | {"scores.query.weight", "scores.query.bias"} | biases
    if isinstance(reuse, ReuseContext):
        return OUTPUT
    return MIX


def further_keys(case: Case) -> set[str]:
    """What a layer has for each further use of its own map."""
    num_further = case.reuse.num_mixes - 1 if isinstance(case.reuse, ReuseWithin) else 0
    each = MIX | {"norm.weight", "norm.bias"}
    return {f"further.{index}.{name}" for index in range(num_further) for name in each}


@pairwise(case=CASES, kind=KINDS, positions=POSITIONS)
def test_each_role_has_exactly_these_parameters(
    kind: EncoderKind, positions: PositionKind, case: Case
) -> None:
    encoder = case.encoder(kind, positions=positions)

    for layer, leader in enumerate(case.leaders):
        state = attention(encoder, layer).state_dict()
        keys_of = own_keys if leader == layer else follower_keys
        assert set(state) == keys_of(case, layer, positions)
        norm = encoder.layers[layer].get_submodule("attention_norm").state_dict()
        needs_no_norm = state.keys() <= OUTPUT
        assert set(norm) == (set() if needs_no_norm else {"weight", "bias"})


@pairwise(name=list(GROUPINGS), kind=KINDS, positions=POSITIONS)
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


@pairwise(case=CASES, kind=KINDS, positions=POSITIONS)
def test_every_parameter_gets_a_gradient(
    kind: EncoderKind, positions: PositionKind, case: Case
) -> None:
    encoder = case.encoder(kind, positions=positions).train()

    output = encoder(*random_features([30, 13]))
    torch.autograd.backward(valid_sum(output.frames_BTD, output.lengths_B))

    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        if not parameter_name.endswith("key.bias"):  # shifts a row of scores: softmax forgets it
            assert parameter.grad.abs().sum() > 0, parameter_name


@each_position
@pytest.mark.parametrize(
    "reuse",
    [
        ReuseProbs(pattern="LAF"),
        ReuseProbs(pattern="LAF", map_dtype="bfloat16"),
        ReuseProbs(pattern="LAF", map_dtype="float16"),
        ReuseBand(pattern="LAF", width=2),
        ReuseTopK(pattern="LAF", num_kept=3),
    ],
    ids=["probs", "bfloat16", "float16", "band", "top_k"],
)
def test_a_follower_teaches_its_leader_where_to_look(
    positions: PositionKind, reuse: ReuseMethod
) -> None:
    """With the leader's own use of the map cut off, its queries and keys learn from followers."""
    encoder = tiny_encoder(reuse=reuse, positions=positions, num_layers=3)
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
    carried = carry.probs_BHTT.whole().clone()
    one, carry_one = run_attention(first, x_BTD, carry)
    two, carry_two = run_attention(second, x_BTD, carry_one)

    assert carried.shape == (2, NUM_HEADS, 6, 6)
    torch.testing.assert_close(carried.sum(-1), torch.ones(2, NUM_HEADS, 6))
    assert (carried > 0).all(), "dropout would have left zeros"
    assert not torch.equal(one, two), "each layer draws its own mask"
    assert carry_one is carry
    assert carry_two is carry
    assert torch.equal(carry.probs_BHTT.whole(), carried)


def carried_tensors(held: object) -> list[Tensor]:
    """Every tensor a carry holds, and what it holds."""
    if isinstance(held, Tensor):
        return [held]
    if is_dataclass(held):
        held = [getattr(held, field.name) for field in fields(held)]
    inner = held if isinstance(held, list | tuple) else []
    return [tensor for one in inner for tensor in carried_tensors(one)]


@pairwise(
    case=REUSING, mode=[torch.enable_grad, torch.no_grad, torch.inference_mode], positions=POSITIONS
)
def test_the_carry_survives_its_users(case: Case, positions: PositionKind, mode: Any) -> None:
    """Inference works in place in many spots; none of them may be what is handed on.

    Every follower runs twice on what it was given, and gives the same.
    """
    encoder = case.encoder(positions=positions)
    x_BTD = torch.randn(2, 6, D_MODEL)
    table = encoder.positions.table(6, D_MODEL, case.num_heads, x_BTD)
    frames = Frames(padding_mask(torch.tensor([6, 4]), 6), table)
    carry: AttentionCarry | None = None
    held: list[Tensor] = []
    copies: list[Tensor] = []

    with mode():
        for layer, module in enumerate(encoder.layers):
            again_BTD, _ = module(x_BTD, frames, carry)
            x_BTD, carry = module(x_BTD, frames, carry)
            assert torch.equal(x_BTD, again_BTD), layer
            if carry is not None:
                held += carried_tensors(carry)
                copies += [tensor.clone() for tensor in carried_tensors(carry)]

    assert held
    for tensor, copy in zip(held, copies, strict=True):
        assert torch.equal(tensor, copy)


@each_reusing_case
def test_what_is_carried_is_used(case: Case) -> None:
    """A follower's output moves with each tensor it is handed."""
    encoder = case.encoder("transformer")
    x_BTD = torch.randn(2, 6, D_MODEL)
    table = encoder.positions.table(6, D_MODEL, case.num_heads, x_BTD)
    frames = Frames(padding_mask(torch.tensor([6, 4]), 6), table)
    follower = next(i for i, leader in enumerate(case.leaders) if leader != i)
    _, carry = attention(encoder, case.leaders[follower])(x_BTD, frames, None)

    output_BTD, handed_on = attention(encoder, follower)(x_BTD, frames, carry)
    reached = [tensor for tensor in carried_tensors(carry) if tensor.is_floating_point()]
    gradients = torch.autograd.grad(
        output_BTD.square().sum(), reached, allow_unused=True, retain_graph=True
    )

    used = [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients]
    if isinstance(
        case.place(follower).reuse, ReuseContext
    ):  # its own context; the rest is for those after it
        assert used == [True] + [False] * (len(reached) - 1)
        assert handed_on.contexts == carry.contexts[1:]
    else:
        assert all(used)


def test_the_map_of_the_leader_is_what_a_follower_mixes_with() -> None:
    encoder = tiny_encoder(reuse=ReuseProbs(group_size=4))
    follower = attention(encoder, 1)
    x_BTD = torch.randn(1, 5, D_MODEL)
    identity = torch.eye(5).expand(1, NUM_HEADS, 5, 5)

    output_BTD, _ = run_attention(follower, x_BTD, ProbsCarry(KeptRows((identity,))))

    own = follower.mix
    torch.testing.assert_close(output_BTD, own.output(own.value(x_BTD)))


@pytest.mark.parametrize("num_frames", [5, 7, 12])
def test_a_map_over_another_frame_rate_is_refused(num_frames: int) -> None:
    encoder = tiny_encoder(reuse=ReuseProbs(group_size=4))
    carry = ProbsCarry(KeptRows((torch.full((1, NUM_HEADS, 6, 6), 1 / 6),)))

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
