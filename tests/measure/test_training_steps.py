from __future__ import annotations

from typing import Any

import pytest
import torch

from asr.measure.training_step import EncoderWithCtc, measure_training_steps
from asr.model.build import build_encoder
from asr.profiling.training_step import TrainingStepSpec
from asr.report.points import TrainingStepPoint
from tests.model.configs import CONFIG, changed

SPEC = TrainingStepSpec(lengths_s=[1.0, 0.5], batch_s=2.0, repeats=3, warmup=1, num_threads=1)
NONE = {"_target_": "asr.reuse.none.NoReuse", "fused": True}
Points = dict[str, tuple[TrainingStepPoint, ...]]


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def points(said: list[str]) -> Points:
    configs: dict[str, dict[str, Any]] = {"none": changed("reuse", NONE), "pairs": CONFIG}
    return measure_training_steps(configs, SPEC, report=said.append)


def test_every_run_has_a_point_for_every_length(points: Points, said: list[str]) -> None:
    assert list(points) == ["none", "pairs"]
    for found in points.values():
        assert [(p.length_s, p.batch_size, p.dtype, p.num_rounds) for p in found] == [
            (1.0, 2, "float32", 3),
            (0.5, 4, "float32", 3),
        ]
        for point in found:
            assert 0 < point.median_ms <= point.p90_ms
            assert point.baselines.keys() == {"fused", "explicit"}
    assert said == [
        "timing training steps of 3 encoders at 2 x 1 s, float32",
        "timing training steps of 3 encoders at 4 x 0.5 s, float32",
    ]


def test_an_encoder_is_its_own_baseline(points: Points) -> None:
    for own, other in zip(points["none"], points["pairs"], strict=True):
        assert own.baselines["fused"].speedup == 1.0
        assert other.baselines["fused"].median_ms == own.median_ms


def test_every_parameter_is_trained() -> None:
    model = EncoderWithCtc(build_encoder(CONFIG, 10)).train()
    loss = model.batch_loss(1.0, 2, 10.0)
    value = loss()
    assert torch.isfinite(value)
    assert value > 0
    value.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.head.parameters())
    assert all(p.grad is not None for p in model.encoder.parameters())


@pytest.mark.gpu
def test_steps_on_cuda_in_bfloat16() -> None:
    spec = TrainingStepSpec(lengths_s=[1.0], batch_s=2.0, repeats=2, dtype="bfloat16")
    (point,) = measure_training_steps({"pairs": CONFIG}, spec, device="cuda")["pairs"]
    assert point.dtype == "bfloat16"
    assert point.peak_memory_mib is not None
    assert point.peak_memory_mib > 0
