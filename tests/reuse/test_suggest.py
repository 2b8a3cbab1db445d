from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from asr.reuse.schedule import schedule_from_groups
from asr.reuse.suggest import best_groups, greedy_groups, risk
from asr.types import InputError


def random_similarity(num_layers: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    half = torch.rand(num_layers, num_layers, generator=generator, dtype=torch.float64)
    return ((half + half.T) / 2).fill_diagonal_(1.0)


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
    assert greedy_groups(similarity, threshold=0.9) == (sizes, 0.0)
    assert best_groups(similarity, num_groups=len(sizes)) == (sizes, 0.0)


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
@pytest.mark.parametrize("num_groups", [1, 2, 3, 6])
def test_no_other_groups_are_better(seed: int, num_groups: int) -> None:
    similarity = random_similarity(6, seed)
    found = best_groups(similarity, num_groups=num_groups)
    risks = {groups: risk(similarity, groups) for groups in all_groups(6, num_groups)}
    assert found.risk == pytest.approx(min(risks.values()))
    assert risks[found.groups] == pytest.approx(found.risk)


def test_the_risk_of_a_schedule_as_a_loop() -> None:
    similarity = random_similarity(6)
    expected = sum(
        1 - float(similarity[role.leader, role.layer])
        for role in schedule_from_groups([2, 1, 3], 6)
        if role.leader is not None
    )
    assert risk(similarity, (2, 1, 3)) == pytest.approx(expected)


def test_more_leaders_never_risk_more() -> None:
    similarity = random_similarity(8)
    risks = [best_groups(similarity, num_groups=count).risk for count in range(1, 9)]
    assert risks == sorted(risks, reverse=True)
    assert risks[-1] == 0


def test_what_cannot_be_asked() -> None:
    with pytest.raises(InputError, match=r"threshold 1\.5: allowed: 0 to 1"):
        greedy_groups(blocks(2), threshold=1.5)
    with pytest.raises(InputError, match="3 groups of 2 layers: allowed: 1 to 2"):
        best_groups(blocks(2), num_groups=3)
