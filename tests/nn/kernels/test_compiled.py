"""What a launch compiles, for GPUs that are not there, fits into their memory and registers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")

SHARED_BYTES = {80: 99 * 1024, 90: 227 * 1024}
"""What a block may have on the smallest GPU that runs code for a compute capability."""
MOST_SPILT_BYTES = 16  # of registers of a thread, to its stack

B, H, T, K = 2, 4, 50, 64

CompileFor = Callable[[int, Callable[[], object]], list[Any]]


class Driver:
    """What Triton asks the driver of a GPU before it compiles."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> object:
        return triton.backends.compiler.GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compile_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CompileFor]:
    """Kernels that a function launches, compiled for a compute capability and not run."""
    from asr.nn.kernels.mix import mix_tile
    from asr.nn.kernels.relative_attention import attend_tile

    def forget() -> None:
        for kernel in (mix_tile, attend_tile):
            kernel.device_caches.clear()

    run = triton.runtime.JITFunction.run
    kernels: list[Any] = []

    def only_compile(self: Any, *args: Any, warmup: bool, **options: Any) -> None:
        kernels.append(run(self, *args, warmup=True, **options))

    def compile_for(capability: int, launch: Callable[[], object]) -> list[Any]:
        monkeypatch.setattr(triton.runtime.driver, "_active", Driver(capability))
        launch()
        return kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(triton.runtime.JITFunction, "run", only_compile)
    forget()
    yield compile_for
    forget()


def spilt_bytes(binary: bytes, folder: Path) -> int:
    """Stack of a thread, as the tool that comes with Triton reads it from the binary."""
    path = folder / "kernel.cubin"
    path.write_bytes(binary)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    shown = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    (found,) = re.findall(r"STACK:(\d+)", shown.stdout)
    return int(found)


@pytest.mark.parametrize(
    ("capability", "dtype", "value_dim"),
    [
        (80, torch.bfloat16, 64),
        (90, torch.float16, 256),
        (80, torch.float32, 64),
    ],
    ids=str,
)
def test_relative_attention(
    compile_for: CompileFor, tmp_path: Path, capability: int, dtype: torch.dtype, value_dim: int
) -> None:
    from asr.nn.kernels.relative_attention import relative_attention

    def launch(num_frames: int = T) -> None:
        x_BHTK = torch.zeros(B, num_frames, H, K, dtype=dtype).transpose(1, 2)
        v_BHTV = torch.zeros(B, num_frames, H, value_dim, dtype=dtype).transpose(1, 2)
        r_HKP = torch.zeros(2 * num_frames - 1, H, K, dtype=dtype).permute(1, 2, 0)
        padding_mask = torch.zeros(B, num_frames, dtype=torch.bool)
        bias_HK = torch.zeros(H, K, dtype=dtype)
        relative_attention(x_BHTK, x_BHTK, v_BHTV, r_HKP, bias_HK, bias_HK, padding_mask, None)

    (kernel,) = compile_for(capability, launch)
    assert kernel.metadata.shared <= SHARED_BYTES[capability]
    assert spilt_bytes(kernel.asm["cubin"], tmp_path) <= MOST_SPILT_BYTES

    kernels = compile_for(capability, lambda: launch(64))
    assert kernels[0].hash == kernels[1].hash, "another length must not be another kernel"


@pytest.mark.parametrize("capability", [80, 90])
def test_mix(compile_for: CompileFor, tmp_path: Path, capability: int) -> None:
    from asr.nn.kernels.mix import mix_values

    def launch() -> None:
        probs_BHTT = torch.zeros(B, H, T, T, dtype=torch.bfloat16)
        mix_values(probs_BHTT, torch.zeros(B, T, H * K))

    (kernel,) = compile_for(capability, launch)
    assert kernel.metadata.shared <= SHARED_BYTES[capability]
    assert spilt_bytes(kernel.asm["cubin"], tmp_path) <= MOST_SPILT_BYTES
