"""Kernels compile for GPUs that are not there, and fit into their shared memory and registers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")

SHARED_BYTES = {80: 99 * 1024, 90: 227 * 1024}
"""What a block may have on the smallest GPU that runs code for a compute capability."""
MOST_SPILT_BYTES = 16  # of registers of a thread, to its stack


def compiled(
    kernel: Any,
    capability: int,
    *,
    pointers: Mapping[str, str],
    constants: Mapping[str, object],
    options: Mapping[str, int],
) -> Any:
    """``kernel`` for a compute capability, with strides and addresses that divide by 16."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, values, known = {}, {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], values[(index,)] = "constexpr", constants[name]
            continue
        signature[name] = f"*{pointers[name]}" if name in pointers else "i32"
        if name in pointers or re.search("_[bht]$", name):
            known[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, values, known)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(options))


def spilt_bytes(binary: bytes, folder: Path) -> int:
    """Stack of a thread, as the tool that comes with Triton reads it from the binary."""
    path = folder / "kernel.cubin"
    path.write_bytes(binary)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    shown = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    (found,) = re.findall(r"STACK:(\d+)", shown.stdout)
    return int(found)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("capability", "dtype", "value_dim"),
    [(80, "bf16", 64), (90, "fp16", 256), (80, "fp32", 64)],
)
def test_relative_attention(tmp_path: Path, capability: int, dtype: str, value_dim: int) -> None:
    from asr.nn.kernels import relative_attention as module

    types = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    cut = module.tiling(types[dtype], 64, value_dim)
    assert cut is not None
    kernel = compiled(
        module._attend,
        capability,
        pointers={
            **dict.fromkeys(("content", "position", "key", "value", "distance", "context"), dtype),
            "is_padding": "u8",
        },
        constants={
            "K": 64,
            "V": value_dim,
            "PADDED_K": 64,
            "PADDED_V": value_dim,
            "N": cut.tile,
            "PRECISION": "tf32x3",
            "distance_k": 1,
            "reach": None,
        },
        options={"num_warps": cut.num_warps, "num_stages": cut.num_stages},
    )
    assert kernel.metadata.shared <= SHARED_BYTES[capability]
    assert spilt_bytes(kernel.asm["cubin"], tmp_path) <= MOST_SPILT_BYTES


@pytest.mark.parametrize("capability", [80, 90])
def test_mix(tmp_path: Path, capability: int) -> None:
    from asr.nn.kernels import mix as module

    cut = module.tiling(64, 1500, 64)
    kernel = compiled(
        module._mix,
        capability,
        pointers={"probs": "bf16", "value": "fp32", "context": "fp32"},
        constants={"K": 64, "PADDED_K": 64, "N": cut.num_rows, "M": cut.num_columns},
        options={"num_warps": 4, "num_stages": cut.num_stages},
    )
    assert kernel.metadata.shared <= SHARED_BYTES[capability]
    assert spilt_bytes(kernel.asm["cubin"], tmp_path) <= MOST_SPILT_BYTES
