"""Methods that come down to one another, with the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from asr.encoder.stack import Encoder
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.reuse.band import ReuseBand
from asr.reuse.base import ReuseMethod
from asr.reuse.heads import ReuseHeads
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.top_k import ReuseTopK
from tests.encoder.tiny import (
    D_MODEL,
    KINDS,
    NUM_HEADS,
    POSITIONS,
    EncoderKind,
    random_features,
    tiny_encoder,
)
from tests.pairwise import pairwise

LENGTHS = [61, 3, 30]
LEADERS = [0, 1, 0, 0]

# As map reuse: followers that correct nothing, that compute no head of their own, and those from
# whom nothing of the map is kept.
AS_PROBS: dict[str, ReuseMethod] = {
    "heads": ReuseHeads(leaders=LEADERS, num_reused=NUM_HEADS),
    "scores": ReuseScores(leaders=LEADERS, correction="none"),
    "band": ReuseBand(leaders=LEADERS, width=1000),
    "top_k": ReuseTopK(leaders=LEADERS, num_kept=1000),
}

each_kind = pytest.mark.parametrize("kind", KINDS)
each_position = pytest.mark.parametrize("positions", POSITIONS)


def assert_same(encoders: Sequence[Encoder], grad: bool) -> None:
    features_BTF, lengths_B = random_features(LENGTHS)
    with torch.set_grad_enabled(grad):
        one, other = (encoder(features_BTF, lengths_B) for encoder in encoders)
    assert torch.equal(one.lengths_B, other.lengths_B)
    for row, length in enumerate(one.lengths_B):
        torch.testing.assert_close(
            one.frames_BTD[row, :length], other.frames_BTD[row, :length], atol=1e-6, rtol=1e-6
        )


@pairwise(name=list(AS_PROBS), grad=[True, False], positions=POSITIONS, kind=KINDS)
def test_methods_that_are_map_reuse(
    name: str, kind: EncoderKind, positions: PositionKind, grad: bool
) -> None:
    probs = tiny_encoder(kind, reuse=ReuseProbs(leaders=LEADERS), positions=positions, seed=1)
    other = tiny_encoder(kind, reuse=AS_PROBS[name], positions=positions, seed=2)
    other.load_state_dict(probs.state_dict())

    assert_same([probs, other], grad)
    assert [row.parameters_saved for row in other.schedule_rows()] == [
        row.parameters_saved for row in probs.schedule_rows()
    ]


@pairwise(positions=POSITIONS, correction=["diagonal", "low_rank"])
def test_a_correction_of_zero_is_map_reuse(correction: str, positions: PositionKind) -> None:
    probs = tiny_encoder(reuse=ReuseProbs(leaders=LEADERS), positions=positions)
    reuse = ReuseScores(leaders=LEADERS, correction=correction)  # type: ignore[arg-type]
    scores = tiny_encoder(reuse=reuse, positions=positions)
    zeros = {
        name: torch.zeros_like(tensor)
        for name, tensor in scores.state_dict().items()
        if ".correction." in name
    }
    scores.load_state_dict(probs.state_dict() | zeros)

    assert zeros
    assert_same([probs, scores], grad=False)


@each_position
def test_fresh_heads_stand_first_and_are_those_a_full_layer_would_compute(
    positions: PositionKind,
) -> None:
    """The follower is given the first queries and keys of a full layer."""
    num_heads, num_fresh = 4, 3
    sizes: dict[str, Any] = {"positions": positions, "num_layers": 2, "num_heads": num_heads}
    heads = tiny_encoder(reuse=ReuseHeads(group_size=2, num_reused=1), **sizes)
    full = tiny_encoder(reuse=NoReuse(fused=False), **sizes)
    leader, follower = (layer.get_submodule("attention") for layer in heads.layers)
    alone = full.layers[1].get_submodule("attention")
    width = D_MODEL // num_heads
    with torch.no_grad():
        for name, tensor in follower.get_submodule("scores").named_parameters():
            source = alone.get_submodule("scores").get_parameter(name)
            rows = num_fresh if name.endswith("_HK") else num_fresh * width
            assert tensor.shape == (rows, *source.shape[1:])
            tensor.copy_(source[:rows])
    x_BTD = torch.randn(2, 6, D_MODEL)
    frames = Frames(position_table=heads.positions.table(6, D_MODEL, num_heads, x_BTD))

    _, carry = leader(x_BTD, frames, None)
    _, handed_on = follower(x_BTD, frames, carry)

    own_BHTT = alone.get_submodule("scores")(x_BTD, frames)
    lead_BHTT = leader.get_submodule("scores")(x_BTD, frames)
    assert torch.equal(torch.cat([head.whole() for head in carry.heads], 1), lead_BHTT[:, :1])
    torch.testing.assert_close(
        torch.cat([head.whole() for head in handed_on.heads], 1), own_BHTT[:, :1]
    )
