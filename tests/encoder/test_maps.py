from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from asr.encoder.maps import encode_with_maps
from asr.nn.positions import PositionKind
from asr.nn.tiles import KeptRows
from asr.reuse.absent import Absent
from asr.reuse.band import ReuseBand
from asr.reuse.base import ReuseMethod
from asr.reuse.context import FollowContext, ReuseContext
from asr.reuse.few_heads import FewHeads
from asr.reuse.grouped import Grouped
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import FollowKeysValues, ReuseKeysValues
from asr.reuse.linear import Linear
from asr.reuse.local import Local
from asr.reuse.mixed import Mixed, Part
from asr.reuse.none import AloneAttention, NoReuse
from asr.reuse.pooled import Pooled
from asr.reuse.probs import FollowProbs, ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.top_k import ReuseTopK
from asr.reuse.within import ReuseWithin, WithinAttention
from tests.pairwise import pairwise

from .tiny import KINDS, NUM_HEADS, POSITIONS, EncoderKind, random_features, tiny_encoder

LENGTHS = [60, 33, 47]
METHODS: list[ReuseMethod] = [
    NoReuse(fused=True),
    NoReuse(fused=False),
    ReuseProbs(group_size=2),
    ReuseProbs(pattern="LAFF"),
    ReuseBand(group_size=4, width=2),
    ReuseTopK(group_size=4, num_kept=3),
    ReuseHeads(group_size=4, num_reused=1),
    ReuseHeads(group_size=2, num_reused=2),
    ReuseScores(group_size=4, correction="low_rank"),
    ReuseKeysValues(group_size=4),
    ReuseContext(group_size=4),
    ReuseWithin(num_mixes=3),
    FewHeads(num_heads=1),
    Local(width=3),
    Pooled(pool_size=4),
    Linear(),
    Mixed(
        parts=[
            Part(method=ReuseProbs(group_size=1), layers=1),
            Part(method=ReuseContext(group_size=3)),
        ]
    ),
]


each_way_to_attend = pytest.mark.parametrize(
    "reuse",
    [
        NoReuse(),
        ReuseBand(group_size=4, width=2),
        ReuseTopK(group_size=4, num_kept=9),
        Local(width=3),
        Grouped(frames_per_group=4),
        Pooled(pool_size=4),
        Linear(),
    ],
    ids=lambda reuse: reuse.name,
)


def mixed_by(probs_BHTT: Any, attention: Any, input_BTD: Tensor, carry: Any) -> Tensor:
    """What ``attention`` gives if the map is what it mixes by."""
    if isinstance(attention, FollowKeysValues):
        mixed: Tensor = attention.mix.merge(probs_BHTT @ carry.v_BHTK)
    elif isinstance(attention, FollowContext):
        mixed = attention.mix.merge(carry.contexts[0])  # its leader's map is in it
    else:
        mixed = attention.mix(input_BTD, probs_BHTT)
    if isinstance(attention, WithinAttention):
        for further in attention.further:
            mixed = mixed + further(input_BTD + mixed, KeptRows((probs_BHTT,)))
    return mixed


@pairwise(kind=KINDS, positions=POSITIONS, reuse=METHODS)
def test_each_layer_mixes_its_values_by_the_map_shown(
    kind: EncoderKind, positions: PositionKind, reuse: ReuseMethod
) -> None:
    encoder = tiny_encoder(kind, reuse=reuse, positions=positions)
    features_BTF, lengths_B = random_features(LENGTHS)
    encoded = encode_with_maps(encoder, features_BTF, lengths_B)
    if reuse.name == "linear" and positions == "rotary":  # weights of either sign are no map
        assert encoded.maps == (None,) * encoder.num_layers
        return
    with torch.no_grad():
        x_BTD, lengths_B, frames = encoder.prepare(features_BTF, lengths_B)
        carry: Any = None
        for index in range(encoder.num_layers):
            layer: Any = encoder.layers[index]
            input_BTD = layer.attention_norm(layer.before_attention(x_BTD))
            attended_BTD, _ = layer.attention(input_BTD, frames, carry)
            mixed_BTD = mixed_by(encoded.maps[index], layer.attention, input_BTD, carry)
            for row, length in enumerate(lengths_B):
                assert torch.allclose(
                    mixed_BTD[row, :length], attended_BTD[row, :length], atol=1e-5
                )
            x_BTD, carry = layer(x_BTD, frames, carry)
            assert torch.equal(encoded.outputs[index], encoder.norm(x_BTD))


def test_the_map_of_groups_is_that_of_their_frames() -> None:
    """Frames of a group look alike, and at the frames of a group alike."""
    encoder = tiny_encoder(reuse=Grouped(frames_per_group=3))
    probs_BHTT = encode_with_maps(encoder, *random_features(LENGTHS)).maps[0]
    assert probs_BHTT is not None
    row_HTT = probs_BHTT[0]  # 15 frames, none of them padding
    assert row_HTT.shape[1] == 15
    groups_HGG = row_HTT[:, ::3, ::3]
    assert torch.equal(row_HTT, groups_HGG.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert groups_HGG.std() > 0.01


def test_layers_without_attention_have_no_map() -> None:
    encoder = tiny_encoder(reuse=Absent(first_layer=1))
    maps = encode_with_maps(encoder, *random_features(LENGTHS)).maps
    assert [one is None for one in maps] == [False, True, True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_out_is_what_the_encoder_gives(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind, reuse=ReuseProbs(group_size=2))
    features_BTF, lengths_B = random_features(LENGTHS)
    encoded = encode_with_maps(encoder, features_BTF, lengths_B)
    with torch.no_grad():
        expected = encoder(features_BTF, lengths_B, range(encoder.num_layers))
    assert torch.equal(encoded.frames_BTD, expected.frames_BTD)
    assert torch.equal(encoded.lengths_B, expected.lengths_B)
    for ours, theirs in zip(encoded.outputs, expected.intermediate, strict=True):
        assert torch.equal(ours, theirs.frames_BTD)


@each_way_to_attend
def test_maps_are_maps(reuse: ReuseMethod) -> None:
    encoder = tiny_encoder(reuse=reuse)
    encoded = encode_with_maps(encoder, *random_features(LENGTHS))
    num_frames = encoded.frames_BTD.shape[1]
    for probs_BHTT in encoded.maps:
        assert probs_BHTT is not None
        assert probs_BHTT.shape == (3, NUM_HEADS, num_frames, num_frames)
        assert (probs_BHTT >= 0).all()
        for row, length in enumerate(encoded.lengths_B.tolist()):
            total_HT = probs_BHTT[row, :, :length].sum(-1)
            assert torch.allclose(total_HT, torch.ones(NUM_HEADS, length))
            assert not probs_BHTT[row, :, :length, length:].any()


@each_way_to_attend
def test_padding_changes_no_map(reuse: ReuseMethod) -> None:
    encoder = tiny_encoder(reuse=reuse)
    features_BTF, lengths_B = random_features(LENGTHS)
    together = encode_with_maps(encoder, features_BTF, lengths_B)
    for row, length in enumerate(LENGTHS):
        alone = encode_with_maps(
            encoder, features_BTF[row : row + 1, :length], lengths_B[row : row + 1]
        )
        num_frames = int(alone.lengths_B)
        for ours, theirs in zip(together.maps, alone.maps, strict=True):
            assert ours is not None
            assert theirs is not None
            assert torch.allclose(ours[row, :, :num_frames, :num_frames], theirs[0], atol=1e-5)


def test_a_follower_shows_the_map_of_its_leader() -> None:
    encoder = tiny_encoder(reuse=ReuseProbs(groups=[1, 3]))
    alone, leader, *followers = encode_with_maps(encoder, *random_features(LENGTHS)).maps
    assert alone is not None
    assert leader is not None
    assert not torch.allclose(alone, leader)
    for follower in followers:
        assert follower is not None
        assert torch.equal(follower, leader)


def test_a_layer_without_a_map_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FollowProbs, "attention_map", lambda *_: None)
    encoder = tiny_encoder(reuse=ReuseProbs(groups=[2, 2]))
    maps = encode_with_maps(encoder, *random_features(LENGTHS)).maps
    assert maps[0] is maps[1]  # its leader's
    assert maps[2] is maps[3]
    monkeypatch.setattr(AloneAttention, "attention_map", lambda *_: None)
    maps = encode_with_maps(tiny_encoder(), *random_features(LENGTHS)).maps
    assert maps == (None, None, None, None)
