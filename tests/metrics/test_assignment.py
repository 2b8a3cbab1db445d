from __future__ import annotations

import itertools

import pytest
import torch

from asr.metrics.attention import best_assignment


@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (4, 4), (2, 5), (6, 6), (3, 7)])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_adds_up_to_more(num_rows: int, num_columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.rand(num_rows, num_columns, generator=generator, dtype=torch.float64)

    def total(columns: tuple[int, ...] | list[int]) -> float:
        return sum(float(similarity[row, column]) for row, column in enumerate(columns))

    found = best_assignment(similarity)
    assert len(set(found)) == num_rows
    best = max(map(total, itertools.permutations(range(num_columns), num_rows)))
    assert total(found) == pytest.approx(best)


def test_the_best_partner_of_one_row_may_have_to_go_to_another() -> None:
    assert best_assignment(torch.tensor([[0.9, 0.8], [0.9, 0.1]])) == [1, 0]


def test_sixteen_heads_that_changed_places_are_found() -> None:
    order = torch.randperm(16)
    similarity = torch.rand(16, 16) * 0.5
    similarity[torch.arange(16), order] = 1.0
    assert best_assignment(similarity) == order.tolist()
