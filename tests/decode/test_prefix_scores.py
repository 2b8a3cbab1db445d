"""CTC prefix scores against a sum over every path."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from asr.decode.prefix_scores import CtcPrefixScores

T, V = 5, 3
LENGTHS = torch.tensor([5, 3])
PREFIXES = [ids for number in range(1, 4) for ids in product(range(1, V), repeat=number)]


def log_probs() -> Tensor:
    scores_BTV = torch.randn(2, T, V, generator=torch.Generator().manual_seed(4)) * 2
    return scores_BTV.log_softmax(-1)


def by_paths(log_probs_TV: Tensor) -> dict[tuple[int, ...], float]:
    """What every sequence has of the probability of all paths."""
    spelt: dict[tuple[int, ...], float] = {}
    for path in product(range(V), repeat=len(log_probs_TV)):
        kept = [one for one, before in zip(path, (0, *path), strict=False) if one != before]
        ids = tuple(one for one in kept if one)
        chance = sum(float(row[one]) for row, one in zip(log_probs_TV, path, strict=True))
        spelt[ids] = spelt.get(ids, 0.0) + float(torch.tensor(chance).exp())
    return spelt


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_has_the_sum_of_all_that_begins_with_it(prefix: tuple[int, ...]) -> None:
    scores = CtcPrefixScores(log_probs(), LENGTHS)
    sums, last_BK = scores.start(), torch.zeros(2, 1, dtype=torch.int64)
    candidates_BKC = torch.tensor([[1, 2]]).expand(2, 1, 2)
    for token in prefix:
        score_BKC, following = scores.extend(sums, last_BK, candidates_BKC)
        place_BK = torch.full((2, 1), token - 1)
        score_BK = score_BKC.flatten(1).gather(1, place_BK)
        sums, last_BK = scores.pick(following, place_BK), torch.full((2, 1), token)

    for row, length in enumerate(LENGTHS.tolist()):
        spelt = by_paths(log_probs()[row, :length])
        begun = sum(chance for ids, chance in spelt.items() if ids[: len(prefix)] == prefix)
        assert float(score_BK[row].exp()) == pytest.approx(begun, abs=1e-6)
        assert float(sums.total[row].exp()) == pytest.approx(spelt.get(prefix, 0.0), abs=1e-6)


def test_the_empty_prefix_has_the_path_of_blanks() -> None:
    total_B1 = CtcPrefixScores(log_probs(), LENGTHS).start().total

    for row, length in enumerate(LENGTHS.tolist()):
        assert float(total_B1[row]) == pytest.approx(float(log_probs()[row, :length, 0].sum()))
