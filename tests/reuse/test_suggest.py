from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from asr.errors import InputError
from asr.reuse.schedule import schedule_from_groups
from asr.reuse.suggest import LayerCosts, frontier, greedy_groups, priced


def random_risk(num_layers: int, seed: int = 0) -> Tensor:
    """Not symmetric, and some below zero, as where a follower does better than alone."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_layers, num_layers, generator=generator, dtype=torch.float64) - 0.1


def blocks(*sizes: int, inside: float = 1.0, outside: float = 0.2) -> Tensor:
    """Layers alike inside groups and unlike across them."""
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    alike = torch.where(group.unsqueeze(0) == group.unsqueeze(1), inside, outside)
    return alike.double().fill_diagonal_(1.0)


def all_groups(num_layers: int, num_groups: int) -> list[tuple[int, ...]]:
    sizes = itertools.product(range(1, num_layers + 1), repeat=num_groups)
    return [groups for groups in sizes if sum(groups) == num_layers]


@pytest.mark.parametrize("sizes", [(4,), (1, 3), (2, 1, 3), (1, 1, 1)])
def test_groups_that_are_there_are_found(sizes: tuple[int, ...]) -> None:
    similarity = blocks(*sizes)
    assert greedy_groups(similarity, threshold=0.9) == (sizes, 0.0, len(sizes))
    assert frontier(1 - similarity)[-1] == (sizes, 0.0, len(sizes))


def test_the_greedy_block_counts_every_pair_in_it() -> None:
    similarity = blocks(3, inside=0.8)
    similarity[0, 2] = similarity[2, 0] = 0.5  # the mean of the three pairs is 0.7
    assert greedy_groups(similarity, threshold=0.69).groups == (3,)
    assert greedy_groups(similarity, threshold=0.71).groups == (2, 1)
    assert greedy_groups(similarity, threshold=0.81).groups == (1, 1, 1)


def test_a_longer_block_may_pass_where_a_shorter_one_does_not() -> None:
    similarity = torch.ones(3, 3)
    similarity[0, 1] = similarity[1, 0] = 0.0
    assert greedy_groups(similarity, threshold=0.6).groups == (3,)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("costs", [LayerCosts(), LayerCosts(1.0, 1.7, 0.2), LayerCosts(3, 1, -1)])
def test_no_schedule_beats_the_frontier(seed: int, costs: LayerCosts) -> None:
    risk = random_risk(6, seed)
    schedules = [
        priced(risk, groups, costs)
        for num_groups in range(1, 7)
        for groups in all_groups(6, num_groups)
    ]
    assert len(schedules) == 2**5
    expected = [
        (one.cost, one.risk)
        for one in schedules
        if not any(
            other.cost <= one.cost + 1e-9
            and other.risk <= one.risk + 1e-9
            and (other.cost < one.cost - 1e-9 or other.risk < one.risk - 1e-9)
            for other in schedules
        )
    ]
    found = frontier(risk, costs)
    assert [one.cost for one in found] == pytest.approx(sorted(cost for cost, _ in expected))
    assert [one.risk for one in found] == pytest.approx(
        sorted((risk for _, risk in expected), reverse=True)
    )
    for one in found:
        again = priced(risk, one.groups, costs)
        assert (one.risk, one.cost) == pytest.approx((again.risk, again.cost))


def test_a_group_that_costs_more_than_its_layers_alone_is_not_proposed() -> None:
    costs = LayerCosts(alone=1.0, lead=2.5, follow=0.0)  # pairs do not pay, threes do
    assert [one.groups for one in frontier(random_risk(3), costs)] == [(3,), (1, 1, 1)]


def test_the_risk_and_cost_of_a_schedule_as_a_loop() -> None:
    risk, costs = random_risk(6), LayerCosts(1.0, 1.7, 0.2)
    roles = schedule_from_groups([2, 1, 3], 6)
    found = priced(risk, [2, 1, 3], costs)
    assert found.risk == pytest.approx(
        sum(float(risk[one.leader, one.layer]) for one in roles if one.leader is not None)
    )
    assert found.cost == pytest.approx(sum(getattr(costs, one.role.value) for one in roles))


def test_a_threshold_that_is_none() -> None:
    with pytest.raises(InputError, match=r"threshold 1\.5: allowed: 0 to 1"):
        greedy_groups(blocks(2), threshold=1.5)
