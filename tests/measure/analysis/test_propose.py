from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import yaml

from asr.errors import InputError
from asr.measure.analysis.propose import (
    EncoderLatency,
    check_budget,
    config_text,
    propose,
    propose_tried,
)
from asr.measure.analysis.trial import Trial
from asr.model.build import build
from asr.reuse.suggest import LayerCosts

LATENCY = EncoderLatency(length_s=15.0, base_ms=10.0, costs=LayerCosts(2.0, 3.0, 0.0))


def similarity() -> torch.Tensor:
    """Layers 0 and 1 are alike, 2 and 3 less so."""
    found = torch.full((4, 4), 0.1, dtype=torch.float64).fill_diagonal_(1.0)
    found[0, 1] = found[1, 0] = 0.9
    found[2, 3] = found[3, 2] = 0.6
    return found


def test_without_times_the_cost_is_the_number_of_maps() -> None:
    found = propose(similarity(), threshold=0.8)
    assert found.proposed == found.greedy
    assert found.greedy.groups == [2, 1, 1]
    assert [one.groups for one in found.best] == [[4], [2, 2], [2, 1, 1], [1, 1, 1, 1]]
    assert [one.risk for one in found.best] == pytest.approx([1.9, 0.5, 0.1, 0.0])
    assert {one.latency_ms for one in found.best} == {None}


@pytest.mark.parametrize(
    ("budget_ms", "groups"), [(13.0, [4]), (16.5, [2, 2]), (17.0, [2, 1, 1]), (99.0, [1, 1, 1, 1])]
)
def test_the_least_risk_within_the_budget(budget_ms: float, groups: list[int]) -> None:
    found = propose(similarity(), threshold=0.8, latency=LATENCY, budget_ms=budget_ms)
    assert found.proposed.groups == groups
    assert found.proposed.latency_ms is not None
    assert found.proposed.latency_ms <= budget_ms
    assert found.greedy.latency_ms == 10.0 + 3.0 + 2.0 + 2.0


def test_a_budget_below_the_fastest() -> None:
    check_budget(LATENCY, 13.0, num_layers=4)
    with pytest.raises(InputError, match=r"fastest is groups=\[4\], predicted 13\.0 ms"):
        check_budget(LATENCY, 12.9, num_layers=4)


def test_the_proposal_as_a_config() -> None:
    found = propose(similarity(), threshold=0.8, latency=LATENCY, budget_ms=16.5)
    text = config_text("my\nrun", found)
    assert text.startswith(
        "# Proposed from the attention of my run: risk 0.50, 16.0 ms predicted at 15 s of audio.\n"
    )
    reuse = build(yaml.safe_load(text), "reuse")
    assert [one.leader for one in reuse.schedule(4)] == [None, 0, None, 2]


class StandIn(Trial):
    """Losses that were never measured: layers 2 and 3 follow 0 at once, but not together."""

    def __init__(self) -> None:
        self.reuse = {"_target_": "asr.reuse.heads.ReuseHeads", "num_reused": 2}
        self.full_loss = 2.0
        self.schedules: list[list[int]] = []

    @property
    def method(self) -> str:
        return "heads"

    @property
    def num_utterances(self) -> int:
        return 5

    def losses_of_pairs(self, report: Callable[[str], None] = lambda _: None) -> torch.Tensor:
        loss_LL = torch.full((4, 4), torch.nan, dtype=torch.float64)
        loss_LL[0, 1:] = torch.tensor([3.0, 2.125, 2.125])
        loss_LL[1, 2:] = torch.tensor([2.25, 2.5])
        loss_LL[2, 3] = 1.75
        return loss_LL

    def losses_of_groups(self, schedules: Sequence[Sequence[int]]) -> list[float]:
        self.schedules = [list(groups) for groups in schedules]
        return [2.0 + len(groups) for groups in schedules]


def test_a_trial_proposes_at_the_cost_of_what_similarity_does() -> None:
    trial = StandIn()
    suggested, tried = propose_tried(trial, propose(similarity(), threshold=0.8))
    # Of one, two, three and four maps the cheapest; that four maps lose more than three is known.
    assert [(one.groups, one.risk) for one in tried.best] == [
        ([4], 1.25),
        ([1, 3], 0.75),
        ([1, 1, 2], -0.25),
    ]
    assert suggested.proposed.groups == [2, 1, 1]
    assert tried.proposed.groups == [1, 1, 2]
    assert tried.reuse == {
        **trial.reuse,
        **{"groups": [1, 1, 2], "group_size": None, "pattern": None, "leaders": None},
    }
    # Every schedule that is shown was tried as a whole, once.
    shown = [suggested.greedy, suggested.proposed, *suggested.best, tried.proposed, *tried.best]
    assert all(one.added_loss == len(one.groups) for one in shown)
    assert sorted(trial.schedules) == sorted(
        {tuple(one.groups): one.groups for one in shown}.values()
    )
    assert (tried.method, tried.num_utterances, tried.full_loss) == ("heads", 5, 2.0)
    assert tried.loss[0] == [None, 3.0, 2.125, 2.125]
    assert tried.loss[3] == [None] * 4


def test_a_trial_proposes_within_the_budget() -> None:
    similar = propose(similarity(), threshold=0.8, latency=LATENCY, budget_ms=16.5)
    suggested, tried = propose_tried(StandIn(), similar, latency=LATENCY)
    assert suggested.proposed.groups == [2, 2]
    assert tried.proposed.groups == [1, 3]
    assert tried.proposed.latency_ms == 10.0 + 2.0 + 3.0
    text = config_text("my run", suggested, tried)
    assert text.startswith(
        "# Proposed from trials of heads on the layers of my run: risk 0.75, 15.0"
    )
    reuse = build(yaml.safe_load(text), "reuse")
    assert [one.leader for one in reuse.schedule(4)] == [None, None, 1, 1]
    assert reuse.num_reused == 2
    assert config_text("my run", replace(suggested, budget_ms=None)) == config_text(
        "my run", similar
    )
