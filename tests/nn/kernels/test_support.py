"""Where kernels are used: on CUDA devices that are new enough, in inference."""

from __future__ import annotations

import pytest
import torch

from asr.nn.kernels import support


class OnCuda:
    """Stands for a tensor on a device that is not there."""

    is_cuda = True
    device = torch.device("cuda:0")

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype


@pytest.fixture(autouse=True)
def _ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    set_machine(monkeypatch)


def set_machine(
    monkeypatch: pytest.MonkeyPatch,
    *,
    capability: tuple[int, int] = (8, 0),
    cuda: str | None = "13.0",
    triton: object = "a module",
) -> None:
    support._is_supported.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(support, "find_spec", lambda _: triton)


def runs(x: object, *args: object) -> bool:
    with torch.no_grad():
        return support.runs_here(x, *args)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_in_inference_on_cuda(dtype: torch.dtype) -> None:
    assert runs(OnCuda(dtype))


def test_not_where_gradients_are_taken() -> None:
    assert not support.runs_here(OnCuda())  # type: ignore[arg-type]


def test_not_on_the_cpu() -> None:
    assert not runs(torch.zeros(1))


def test_not_in_an_exported_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert not runs(OnCuda())


@pytest.mark.parametrize(
    "machine",
    [{"capability": (7, 5)}, {"cuda": None}, {"triton": None}],
    ids=["Turing", "ROCm", "no Triton"],
)
def test_not_on_other_machines(monkeypatch: pytest.MonkeyPatch, machine: dict[str, object]) -> None:
    set_machine(monkeypatch, **machine)  # type: ignore[arg-type]
    assert not runs(OnCuda())


def test_only_for_the_dtypes_asked_for() -> None:
    assert runs(OnCuda(torch.float16), support.HALF)
    assert not runs(OnCuda(torch.float32), support.HALF)
    assert not runs(OnCuda(torch.float64))
