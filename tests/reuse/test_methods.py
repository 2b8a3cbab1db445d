"""The modules a method builds for each role, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.nn.positions import Positions
from asr.reuse.base import AttentionCarry, AttentionParts, ReuseMethod
from asr.reuse.none import AloneAttention, NoReuse
from asr.reuse.probs import FollowProbs, LeadProbs, ReuseProbs
from asr.reuse.schedule import Role
from tests.encoder.tiny import randomise

D, H, T = 8, 2, 6


def parts(dropout: float = 0.0) -> AttentionParts:
    return AttentionParts(
        scores=lambda: AttentionScores(d_model=D, num_heads=H, positions=Positions()),
        mix=lambda: ValueMix(d_model=D, num_heads=H, dropout=dropout),
        num_heads=H,
    )


def carry() -> AttentionCarry:
    return AttentionCarry(probs_BHTT=torch.randn(1, H, T, T).softmax(-1))


def make(method: ReuseMethod, role: Role, dropout: float = 0.0) -> Any:
    module = method.attention(role, parts(dropout))
    randomise(module)
    return module


@pytest.mark.parametrize(
    ("method", "role", "kind", "heads_reused"),
    [
        (NoReuse(), Role.ALONE, AloneAttention, 0),
        (ReuseProbs(group_size=2), Role.ALONE, AloneAttention, 0),
        (ReuseProbs(group_size=2), Role.LEAD, LeadProbs, 0),
        (ReuseProbs(group_size=2), Role.FOLLOW, FollowProbs, H),
    ],
)
def test_module_of_a_role(
    method: ReuseMethod, role: Role, kind: type[nn.Module], heads_reused: int
) -> None:
    assert type(make(method, role)) is kind
    assert method.heads_reused(role, H) == heads_reused


def test_names() -> None:
    assert (NoReuse().name, ReuseProbs(group_size=2).name) == ("none", "probs")


def test_the_baseline_leaves_every_layer_alone() -> None:
    assert [layer.role for layer in NoReuse().schedule(5)] == [Role.ALONE] * 5


@pytest.mark.parametrize("fused", [True, False])
def test_an_alone_layer_hands_on_what_it_was_given(fused: bool) -> None:
    module, given = make(NoReuse(fused=fused), Role.ALONE), carry()
    x_BTD = torch.randn(1, T, D)

    with_carry_BTD, handed_on = module(x_BTD, Frames(), given)
    without_BTD, nothing = module(x_BTD, Frames(), None)

    assert handed_on is given
    assert nothing is None
    assert torch.equal(with_carry_BTD, without_BTD)


def outputs(module: Any, given: AttentionCarry | None) -> Tensor:
    """Context of values that are all one, many times: the share of a row that dropout left."""
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
        (ReuseProbs(group_size=2), Role.LEAD),
        (ReuseProbs(group_size=2), Role.FOLLOW),
    ],
)
def test_every_role_drops_parts_of_its_map_in_training_only(
    method: ReuseMethod, role: Role
) -> None:
    torch.manual_seed(0)
    module, given = make(method, role, dropout=0.5), carry()

    kept = outputs(module.train(), given)
    assert kept.std() > 0.1
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.1)

    whole = outputs(module.eval(), given)
    torch.testing.assert_close(whole, torch.ones_like(whole))


def test_a_follower_without_a_leader_is_a_mistake_of_the_stack() -> None:
    with pytest.raises(AssertionError):
        make(ReuseProbs(group_size=2), Role.FOLLOW)(torch.randn(1, T, D), Frames(), None)
