from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.errors import InputError
from asr.train.optim import AdamWSpec
from asr.train.state import RunState
from asr.train.trainer import TrainerSpec, plan_steps
from tests.train.standin import TinyLoader, logged, run_fit


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_steps": None}, r"train\.trainer: set max_steps, max_epochs or max_minutes"),
        ({"max_steps": 0}, r"trainer\.max_steps=0"),
        ({"precision": "half"}, r"trainer\.precision='half': allowed: fp32, bf16, fp16"),
        (
            {"activation_checkpointing": "all"},
            r"trainer\.activation_checkpointing='all': allowed: none, layers, groups",
        ),
        ({"accelerator": "tpu"}, r"trainer\.accelerator='tpu': allowed: auto, cpu, gpu, mps"),
        ({"strategy": "fsdp2"}, r"trainer\.strategy='fsdp2': allowed: auto, ddp, fsdp"),
        ({"strategy": "fsdp", "precision": "fp16"}, r"'fp16': not with strategy=fsdp.*fp32, bf16"),
        ({"accumulate": 0}, r"trainer\.accumulate=0"),
        ({"gradient_clip": -1.0}, r"trainer\.gradient_clip=-1\.0"),
    ],
)
def test_bad_settings_name_their_key(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainerSpec(**{"max_steps": 5, **settings})  # type: ignore[arg-type]


def test_half_precision_is_refused_and_bf16_questioned_on_a_cpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(InputError, match="not on cpu"):
        TrainerSpec(max_steps=1, accelerator="cpu", precision="fp16").resolve_accelerator()
    with caplog.at_level(logging.WARNING):
        spec = TrainerSpec(max_steps=1, accelerator="cpu", precision="bf16")
        assert spec.resolve_accelerator() == "cpu"
    assert "usually slower" in caplog.text
    assert TrainerSpec(max_steps=1).precision == "fp32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    assert TrainerSpec(max_steps=1).resolve_accelerator() in ("cpu", "mps")
    with pytest.raises(InputError, match=r"trainer\.accelerator=gpu: none found"):
        TrainerSpec(max_steps=1, accelerator="gpu").resolve_accelerator()


class Growing(TinyLoader):
    """An epoch of three batches, then epochs of five: as sorting the first epoch does."""

    def num_batches(self, epoch: int, num_processes: int) -> int:
        return (3 if epoch == 0 else 5) // num_processes


class Dealt(Growing):
    """Its position counts twice as far where two processes share what one had."""

    def batch_at(self, position: Mapping[str, Any], num_processes: int) -> int:
        return int(position["batch"]) // num_processes


@pytest.mark.parametrize(
    ("settings", "num_steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_epochs": 1}, 3),
        ({"max_epochs": 4}, 18),
        ({"max_epochs": 4, "accumulate": 4}, 5),  # the last step takes from the next epoch
        ({"max_epochs": 4, "devices": 2}, 7),  # what is left over of an epoch is dropped
        ({"max_steps": 7, "max_epochs": 3}, 7),
        ({"max_steps": 70, "max_epochs": 3}, 13),
        ({"max_minutes": 2.0}, None),
    ],
)
def test_the_first_limit_ends_a_run(settings: dict[str, Any], num_steps: int | None) -> None:
    assert plan_steps(TrainerSpec(**settings), Growing(), RunState()) == num_steps


def test_a_run_that_goes_on_otherwise_is_planned_anew() -> None:
    state = RunState()
    trainer = TrainerSpec(max_epochs=4)
    assert plan_steps(trainer, Dealt(), state) == 18
    state.num_steps, state.position = 5, {"epoch": 1, "batch": 2}
    kept = RunState.from_dict(state.to_dict())
    assert plan_steps(trainer, Dealt(), kept) == 18
    assert plan_steps(TrainerSpec(max_epochs=4, accumulate=2), Dealt(), kept) == 5 + 7
    assert plan_steps(TrainerSpec(max_epochs=4, devices=2), Dealt(), kept) == 5 + 5
    assert plan_steps(TrainerSpec(max_epochs=2), Dealt(), kept) == 5 + 3


def test_a_plan_outlives_batches_that_nobody_could_read() -> None:
    state = RunState()
    trainer = TrainerSpec(max_epochs=2)
    assert plan_steps(trainer, Growing(), state) == 8
    state.num_steps, state.position = 3, {"epoch": 1, "batch": 1}  # one batch gave no step
    assert plan_steps(trainer, Growing(), state) == 8, "the rate goes on as it would have"


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_rate_reaches_zero_at_the_last_step(tmp_path: Path, accumulate: int) -> None:
    optim = AdamWSpec(peak_lr=0.01, warmup_fraction=0.2, decay="linear")
    result = run_fit(tmp_path, loader=Growing(), optim=optim, max_epochs=3, accumulate=accumulate)
    rates = logged(tmp_path, "lr")
    assert [step for step, rate in rates.items() if rate == 0.0] == [result.num_steps]


def test_every_process_gets_a_batch_of_every_epoch() -> None:
    with pytest.raises(InputError, match=r"an epoch has 3 batches, fewer than the 4 processes"):
        plan_steps(TrainerSpec(max_steps=5, devices=4), Growing(), RunState())
    assert plan_steps(TrainerSpec(max_steps=5, devices=3), Growing(), RunState()) == 5
