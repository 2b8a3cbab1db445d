"""The modules a method builds for each role, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.nn.frames import Frames
from asr.nn.positions import Keys
from asr.nn.tiles import KeptRows
from asr.reuse.band import BandCarry, FollowBand, LeadBand, ReuseBand
from asr.reuse.base import AttentionCarry, AttentionParts, ReuseMethod
from asr.reuse.context import ContextCarry, FollowContext, LeadContext, ReuseContext
from asr.reuse.heads import FollowHeads, HeadsCarry, LeadHeads, ReuseHeads, each_head
from asr.reuse.kv import FollowKeysValues, KeysValuesCarry, LeadKeysValues, ReuseKeysValues
from asr.reuse.none import AloneAttention, NoReuse
from asr.reuse.probs import FollowProbs, LeadProbs, ProbsCarry, ReuseProbs
from asr.reuse.schedule import LayerRole, Role
from asr.reuse.scores import FollowScores, LeadScores, ReuseScores, ScoresCarry
from asr.reuse.top_k import FollowTopK, LeadTopK, ReuseTopK, TopKCarry
from asr.reuse.within import ReuseWithin, WithinAttention
from tests.encoder.tiny import randomise

D, H, T = 8, 2, 6
K = D // H

LAYERS = {
    Role.ALONE: LayerRole(0, Role.ALONE),
    Role.LEAD: LayerRole(0, Role.LEAD, num_followers=1),
    Role.FOLLOW: LayerRole(1, Role.FOLLOW, leader=0),
}

NONE = NoReuse()
PROBS = ReuseProbs(group_size=2)
HEADS = ReuseHeads(group_size=2, num_reused=1)
ALL_HEADS = ReuseHeads(group_size=2, num_reused=H)
BAND = ReuseBand(group_size=2, width=T)
TOP_K = ReuseTopK(group_size=2, num_kept=2)
SCORES = ReuseScores(group_size=2)
KV = ReuseKeysValues(group_size=2)
CONTEXT = ReuseContext(group_size=2)
WITHIN = ReuseWithin()

WITH_FOLLOWERS: list[ReuseMethod] = [PROBS, BAND, TOP_K, HEADS, SCORES, KV, CONTEXT]


def parts(dropout: float = 0.0) -> AttentionParts:
    return AttentionParts(d_model=D, num_heads=H, positions="none", dropout=dropout)


def carry(method: ReuseMethod) -> AttentionCarry:
    """What a leader might hand on, with values of one and all else at random."""
    if method.name == "scores":
        return ScoresCarry(KeptRows((torch.randn(1, H, T, T),)))
    if method.name == "kv":
        return KeysValuesCarry(keys=Keys(torch.randn(1, H, T, K)), v_BHTK=torch.ones(1, H, T, K))
    if method.name == "context":
        return ContextCarry(contexts=(torch.ones(1, H, T, K),))
    probs_BHTT = torch.randn(1, H, T, T).softmax(-1)
    if method.name == "band":
        return BandCarry(band_BHRS=(probs_BHTT,))
    if method.name == "top_k":
        index_BHTN = torch.randint(T, (1, H, T, 2)) + T * torch.arange(H).view(H, 1, 1)
        return TopKCarry(torch.randn(1, H, T, 2).softmax(-1), index_BHTN)
    if method is HEADS:
        return HeadsCarry(each_head(KeptRows((probs_BHTT,)))[: HEADS.num_reused])
    return ProbsCarry(KeptRows((probs_BHTT,)))


def make(method: ReuseMethod, role: Role, dropout: float = 0.0) -> Any:
    module = method.attention(LAYERS[role], parts(dropout))
    randomise(module)
    return module


@pytest.mark.parametrize(
    ("method", "role", "kind", "heads_reused"),
    [
        (NONE, Role.ALONE, AloneAttention, 0),
        (PROBS, Role.ALONE, AloneAttention, 0),
        (PROBS, Role.LEAD, LeadProbs, 0),
        (PROBS, Role.FOLLOW, FollowProbs, H),
        (BAND, Role.ALONE, AloneAttention, 0),
        (BAND, Role.LEAD, LeadBand, 0),
        (BAND, Role.FOLLOW, FollowBand, H),
        (TOP_K, Role.ALONE, AloneAttention, 0),
        (TOP_K, Role.LEAD, LeadTopK, 0),
        (TOP_K, Role.FOLLOW, FollowTopK, H),
        (WITHIN, Role.ALONE, WithinAttention, 0),
        (HEADS, Role.ALONE, AloneAttention, 0),
        (HEADS, Role.LEAD, LeadHeads, 0),
        (HEADS, Role.FOLLOW, FollowHeads, 1),
        (ALL_HEADS, Role.ALONE, AloneAttention, 0),
        (ALL_HEADS, Role.LEAD, LeadProbs, 0),
        (ALL_HEADS, Role.FOLLOW, FollowProbs, H),
        (SCORES, Role.ALONE, AloneAttention, 0),
        (SCORES, Role.LEAD, LeadScores, 0),
        (SCORES, Role.FOLLOW, FollowScores, H),
        (KV, Role.ALONE, AloneAttention, 0),
        (KV, Role.LEAD, LeadKeysValues, 0),
        (KV, Role.FOLLOW, FollowKeysValues, 0),
        (CONTEXT, Role.ALONE, AloneAttention, 0),
        (CONTEXT, Role.LEAD, LeadContext, 0),
        (CONTEXT, Role.FOLLOW, FollowContext, H),
    ],
)
def test_module_of_a_role(
    method: ReuseMethod, role: Role, kind: type[nn.Module], heads_reused: int
) -> None:
    assert type(make(method, role)) is kind
    assert method.heads_reused(LAYERS[role], H) == heads_reused


def test_names() -> None:
    assert [NONE.name, WITHIN.name] == ["none", "within"]
    names = [method.name for method in WITH_FOLLOWERS]
    assert names == ["probs", "band", "top_k", "heads", "scores", "kv", "context"]


@pytest.mark.parametrize("method", [NONE, WITHIN, *WITH_FOLLOWERS], ids=lambda m: m.name)
def test_only_a_follower_of_contexts_needs_no_input(method: ReuseMethod) -> None:
    roles = [Role.ALONE] if method in (NONE, WITHIN) else list(LAYERS)
    without_input = [role for role in roles if not make(method, role).reads_input]

    assert without_input == ([Role.FOLLOW] if method is CONTEXT else [])


@pytest.mark.parametrize("method", WITH_FOLLOWERS, ids=lambda m: m.name)
def test_an_alone_layer_of_any_method_uses_the_fused_kernel(method: ReuseMethod) -> None:
    assert make(method, Role.ALONE).fused


@pytest.mark.parametrize("method", [NONE, WITHIN], ids=lambda m: m.name)
def test_nobody_follows(method: ReuseMethod) -> None:
    assert [layer.role for layer in method.schedule(5)] == [Role.ALONE] * 5


@pytest.mark.parametrize("fused", [True, False])
def test_an_alone_layer_hands_on_what_it_was_given(fused: bool) -> None:
    module, given = make(NoReuse(fused=fused), Role.ALONE), carry(PROBS)
    x_BTD = torch.randn(1, T, D)

    with_carry_BTD, handed_on = module(x_BTD, Frames(), given)
    without_BTD, nothing = module(x_BTD, Frames(), None)

    assert handed_on is given
    assert nothing is None
    assert torch.equal(with_carry_BTD, without_BTD)


def outputs(module: Any, given: AttentionCarry | None) -> Tensor:
    """Context of values that are all one, many times: the share of a row that dropout left."""
    if hasattr(module.mix, "value"):
        nn.init.zeros_(module.mix.value.weight)
        nn.init.ones_(module.mix.value.bias)
    nn.init.eye_(module.mix.output.weight)
    nn.init.zeros_(module.mix.output.bias)
    x_BTD = torch.randn(1, T, D)
    with torch.no_grad():
        return torch.stack([module(x_BTD, Frames(), given)[0] for _ in range(100)])


@pytest.mark.parametrize(
    ("method", "role"),
    [
        (NoReuse(fused=True), Role.ALONE),
        (NoReuse(fused=False), Role.ALONE),
        (PROBS, Role.LEAD),
        (PROBS, Role.FOLLOW),
        (BAND, Role.LEAD),
        (BAND, Role.FOLLOW),
        (TOP_K, Role.LEAD),
        (TOP_K, Role.FOLLOW),
        (HEADS, Role.LEAD),
        (HEADS, Role.FOLLOW),
        (ALL_HEADS, Role.FOLLOW),
        (SCORES, Role.LEAD),
        (SCORES, Role.FOLLOW),
        (KV, Role.LEAD),
        (KV, Role.FOLLOW),
        (CONTEXT, Role.LEAD),
    ],
)
def test_every_role_drops_parts_of_its_map_in_training_only(
    method: ReuseMethod, role: Role
) -> None:
    torch.manual_seed(0)
    module, given = make(method, role, dropout=0.5), carry(method)

    kept = outputs(module.train(), given)
    assert kept.std() > 0.1
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.1)

    whole = outputs(module.eval(), given)
    torch.testing.assert_close(whole, torch.ones_like(whole))


@pytest.mark.parametrize("method", WITH_FOLLOWERS, ids=lambda m: m.name)
def test_a_follower_without_a_leader_is_a_mistake_of_the_stack(method: ReuseMethod) -> None:
    with pytest.raises(AssertionError):
        make(method, Role.FOLLOW)(torch.randn(1, T, D), Frames(), None)


@pytest.mark.parametrize("num_frames", [1, T - 1, T + 1, 2 * T])
@pytest.mark.parametrize("method", WITH_FOLLOWERS, ids=lambda m: m.name)
def test_no_reuse_across_a_change_of_frame_rate(method: ReuseMethod, num_frames: int) -> None:
    with pytest.raises(ValueError, match=f"{T} frames .* {num_frames} frames.*frame rate"):
        make(method, Role.FOLLOW)(torch.randn(1, num_frames, D), Frames(), carry(method))
