from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.profiling.memory import peak_memory_mib
from asr.profiling.training_step import TrainingStepSpec, training_step


def test_a_batch_holds_as_many_utterances_as_fit() -> None:
    spec = TrainingStepSpec(lengths_s=[15, 30, 50, 0.1], batch_s=120)
    assert [spec.batch_size(length_s) for length_s in spec.lengths_s] == [8, 4, 2, 1200]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lengths_s": []}, r"metrics.training_step.lengths_s is \[\]"),
        ({"lengths_s": [0]}, "metrics.training_step.lengths_s"),
        ({"lengths_s": [5, 20], "batch_s": 10}, "batch_s is 10; at least the longest of .*, 20,"),
        ({"lengths_s": [5], "dtype": "float16"}, "dtype is 'float16'; float32 or bfloat16 allowed"),
        (
            {"lengths_s": [5], "repeats": 0},
            "metrics.training_step.repeats=0: allowed: a whole number from 1",
        ),
        ({"lengths_s": [5], "warmup": -1}, "metrics.training_step.warmup=-1"),
        ({"lengths_s": [5], "num_threads": 0}, "metrics.training_step.num_threads=0"),
        ({"lengths_s": [5], "max_point_s": -1}, "metrics.training_step.max_point_s=-1"),
    ],
)
def test_spec_names_the_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingStepSpec(**values)


def test_a_step_goes_forward_back_and_updates_without_moving() -> None:
    module = nn.Linear(4, 1).eval()
    before = module.weight.detach().clone()
    seen: list[bool] = []

    def loss() -> Tensor:
        seen.append(module.training)
        value: Tensor = module(torch.ones(2, 4)).sum()
        return value

    grads: list[Tensor] = []
    module.weight.register_hook(lambda grad: grads.append(grad.clone()))  # type: ignore[no-untyped-call]
    step = training_step(module, loss)
    step()
    step()
    assert seen == [True, True]
    assert [grad.tolist() for grad in grads] == [[[2.0] * 4]] * 2
    assert module.weight.grad is None  # freed
    assert torch.equal(module.weight, before)


def test_autocast_multiplies_in_bfloat16_and_keeps_weights() -> None:
    module = nn.Linear(4, 1)
    dtypes: list[torch.dtype] = []

    def loss() -> Tensor:
        y: Tensor = module(torch.ones(2, 4))
        dtypes.append(y.dtype)
        return y.float().sum()

    training_step(module, loss, dtype="bfloat16")()
    training_step(module, loss)()
    assert dtypes == [torch.bfloat16, torch.float32]
    assert module.weight.dtype == torch.float32


def test_the_peak_of_a_step_holds_its_gradients() -> None:
    module = nn.Linear(3072, 3072, bias=False)  # 36 MiB: above 32 glibc returns it at once
    step = training_step(module, lambda: module(torch.ones(1, 3072)).sum())
    step()
    peak_mib = peak_memory_mib(step, warmup=0)
    if peak_mib is None:
        pytest.skip("the kernel does not tell the peak memory of a process")
    assert 34 < peak_mib < 80


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_on_cuda(dtype: str) -> None:
    module = nn.Linear(256, 1, device="cuda")
    x = torch.ones(2, 256, device="cuda")
    step = training_step(module, lambda: module(x).float().sum(), dtype=dtype, device="cuda")
    step()
    assert peak_memory_mib(step, "cuda") is not None
    assert module.weight.grad is None
