from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.nn import kept_distances
from asr.nn.kept_distances import KeptDistances


class Projection:
    """Table (P, D) to (1, D, P); counts its calls."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, table_PD: Tensor) -> Tensor:
        self.num_calls += 1
        return 2 * table_PD.T.unsqueeze(0)


def table(furthest: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.arange(furthest, -furthest - 1, -1, dtype=dtype).unsqueeze(1)


def middle(r_HKP: Tensor, furthest: int) -> list[float]:
    centre = r_HKP.shape[-1] // 2
    return r_HKP[0, 0, centre - furthest : centre + furthest + 1].tolist()


@torch.inference_mode()
def test_fewer_distances_are_there_already_and_more_are_not() -> None:
    kept, project = KeptDistances(), Projection()
    for furthest, num_calls in ((3, 1), (3, 1), (1, 1), (5, 2), (4, 2)):
        found = middle(kept(table(furthest), project), furthest)
        assert found == [2.0 * distance for distance in range(furthest, -furthest - 1, -1)]
        assert project.num_calls == num_calls


@torch.inference_mode()
def test_long_tables_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_distances, "KEPT_MIB", 7 * 4 / 2**20)
    kept, project = KeptDistances(), Projection()
    for furthest, num_calls in ((3, 1), (4, 2), (4, 3), (3, 3)):
        kept(table(furthest), project)
        assert project.num_calls == num_calls


def test_other_precision_and_gradients_are_projected_anew() -> None:
    kept, project = KeptDistances(), Projection()
    with torch.no_grad():
        kept(table(3), project)
        assert kept(table(3, torch.float64), project).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            kept(table(2, torch.float64), project)
    assert project.num_calls == 3
    weight = torch.ones((), requires_grad=True)
    assert kept(table(2, torch.float64), lambda table_PD: weight * project(table_PD)).requires_grad
