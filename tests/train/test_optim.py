from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from asr.errors import InputError
from asr.train.optim import AdamWSpec, parameter_groups


def rates(total_steps: int | None, num: int, **settings: object) -> list[float]:
    spec = AdamWSpec(peak_lr=2.0, **settings)  # type: ignore[arg-type]
    model = nn.Linear(2, 2)
    optimizer, schedule = spec.build(model, total_steps=total_steps, fused=False)
    seen = []
    for _ in range(num):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_linear_rises_to_the_peak_and_falls_to_the_final_fraction() -> None:
    got = rates(8, 9, warmup_steps=4, decay="linear", final_lr_fraction=0.1)
    assert got == pytest.approx([0.5, 1.0, 1.5, 2.0, 1.55, 1.1, 0.65, 0.2, 0.2])


def test_cosine_is_half_way_down_in_the_middle() -> None:
    got = rates(10, 10, warmup_fraction=0.2, decay="cosine")
    expected = [1.0, 2.0] + [1 + math.cos(math.pi * n / 8) for n in range(1, 9)]
    assert got == pytest.approx(expected, abs=1e-12)
    assert got[5] == pytest.approx(1.0)
    assert got[9] == pytest.approx(0.0, abs=1e-12)


def test_noam_falls_with_the_root_of_the_step_down_to_a_floor() -> None:
    got = rates(None, 400, warmup_steps=4, decay="noam", final_lr_fraction=0.125)
    assert got[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert got[15] == pytest.approx(1.0)
    assert got[63] == pytest.approx(0.5)
    assert got[399] == pytest.approx(0.25)


def test_constant_stays_and_needs_no_total() -> None:
    assert rates(None, 5, warmup_steps=2, decay="constant") == pytest.approx([1, 2, 2, 2, 2])
    assert rates(None, 2, warmup_steps=0, decay="constant") == [2, 2]


def test_no_weight_decay_on_norms_and_biases() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pos_bias_u = nn.Parameter(torch.zeros(2, 3))
            self.project = nn.Linear(3, 3)
            self.norm = nn.LayerNorm([2, 3])
            self.depthwise = nn.Conv1d(3, 3, 5, groups=3)
            self.frozen = nn.Parameter(torch.zeros(4, 4), requires_grad=False)
            self.tied = self.project

    model = Attention()
    decayed, free = parameter_groups(model, 0.3)
    assert decayed["weight_decay"] == 0.3
    assert free["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {
        id(model.project.weight),
        id(model.depthwise.weight),
    }
    assert {id(p) for p in free["params"]} == {
        id(model.pos_bias_u),
        id(model.project.bias),
        id(model.norm.weight),
        id(model.norm.bias),
        id(model.depthwise.bias),
    }
    assert len(decayed["params"]) == 2
    assert len(free["params"]) == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"peak_lr": 0}, "optim.peak_lr=0"),
        ({"betas": [0.9]}, "optim.betas"),
        ({"warmup_steps": None}, "optim.warmup_steps"),
        ({"warmup_fraction": 0.1}, "give one"),
        ({"decay": "cosin"}, "cosine, linear, noam, constant"),
        ({"final_lr_fraction": 2}, "optim.final_lr_fraction=2"),
        ({"weight_decay": -1}, "optim.weight_decay=-1"),
    ],
)
def test_bad_settings_name_their_key(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        AdamWSpec(**{"peak_lr": 1e-3, "warmup_steps": 5, **settings})  # type: ignore[arg-type]


def test_a_schedule_that_needs_the_total_says_so() -> None:
    spec = AdamWSpec(peak_lr=1e-3, warmup_steps=5, decay="cosine")
    with pytest.raises(InputError, match=r"set train\.trainer\.max_steps"):
        spec.build(nn.Linear(1, 1), total_steps=None, fused=False)
