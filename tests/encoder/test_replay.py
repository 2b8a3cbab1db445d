from __future__ import annotations

from typing import cast

import pytest
import torch

from asr.encoder.maps import EncoderLayer, Replay
from asr.encoder.stack import Encoder
from asr.reuse.base import LayerAttention
from asr.reuse.probs import ReuseProbs
from asr.types import EncoderOutput
from tests.encoder.tiny import KINDS, NUM_MEL_BINS, EncoderKind, tiny_encoder
from tests.equivalence.cases import REUSING, Case
from tests.pairwise import pairwise

PROBS = ReuseProbs(group_size=4)


def attention_of(encoder: Encoder, layer: int) -> LayerAttention:
    return cast(EncoderLayer, encoder.layers[layer]).attention


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 90, NUM_MEL_BINS, generator=generator), torch.tensor([90, 61])


@torch.inference_mode()
def forward(encoder: Encoder) -> EncoderOutput:
    output: EncoderOutput = encoder(*inputs())
    return output


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_is_the_forward_pass(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind)
    expected = forward(encoder)
    found = Replay(encoder, *inputs())
    assert torch.equal(found.frames_BTD, expected.frames_BTD)
    assert torch.equal(found.lengths_B, expected.lengths_B)


@pairwise(case=REUSING, kind=KINDS)
def test_other_attention_is_what_an_encoder_built_with_it_computes(
    case: Case, kind: EncoderKind
) -> None:
    full = tiny_encoder(kind, num_heads=case.num_heads)
    other = case.encoder(kind, seed=3)
    own = {**full.state_dict(), **only_attention(other)}
    other.load_state_dict({name: own[name] for name in other.state_dict()})
    named = {
        role.layer: attention_of(other, role.layer)
        for role in other.schedule
        if role.leader is not None or role.num_followers
    }
    for role in other.schedule:  # what is alone attends in the full encoder as in the other
        if role.layer not in named:
            cast(EncoderLayer, full.layers[role.layer]).attention = attention_of(other, role.layer)
    before = [attention_of(full, layer) for layer in range(4)]
    found = Replay(full, *inputs()).with_attention(named)
    assert torch.equal(found, forward(other).frames_BTD)
    assert [attention_of(full, layer) for layer in range(4)] == before


def only_attention(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: one for name, one in encoder.state_dict().items() if ".attention." in name}


def test_layers_below_are_not_run_again() -> None:
    encoder = tiny_encoder()
    replay = Replay(encoder, *inputs())
    runs: list[int] = []
    for index, layer in enumerate(encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: runs.append(index))
    replay.with_attention({2: attention_of(tiny_encoder(seed=4), 2)})
    assert runs == [2, 3]


def test_an_error_leaves_the_encoder_as_it_was() -> None:
    encoder = tiny_encoder()
    replay = Replay(encoder, *inputs())
    own = attention_of(encoder, 1)
    follower = attention_of(Case(PROBS, [0, 0, 0, 0]).encoder(), 1)
    with pytest.raises(AssertionError):  # it has no leader
        replay.with_attention({1: follower})
    assert attention_of(encoder, 1) is own
