from __future__ import annotations

import pytest
import torch
import yaml

from asr.model.build import build
from asr.report.analysis.latency import EncoderLatency
from asr.report.analysis.propose import check_budget, config_text, propose
from asr.reuse.suggest import LayerCosts
from asr.types import InputError

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
