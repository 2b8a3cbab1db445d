from __future__ import annotations

import logging

import pytest
import torch

from asr.train.trainer import TrainerSpec
from asr.types import InputError


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
