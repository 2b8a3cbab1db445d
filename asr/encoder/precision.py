"""The dtype of an encoder: half precision, 8 bits, or the fastest on the device."""

from __future__ import annotations

import torch

from asr.encoder.stack import Encoder
from asr.nn.int8 import check_int8, to_int8
from asr.types import DTYPES

AUTO = "auto"
"""Stands for `best_dtype` wherever a dtype is given."""

_HALF_ON_CPU = ("amx_bf16", "avx512_bf16")


def compute_in(encoder: Encoder, dtype: str) -> None:
    """Make ``encoder`` compute in ``dtype``, one of `DTYPES`; ``int8`` is only for inference.

    Raises:
        InputError: ``int8`` on a device other than a CPU, see `to_int8`.
    """
    assert dtype in DTYPES, dtype
    if dtype == "int8":
        to_int8(encoder)
    else:
        encoder.to(getattr(torch, dtype))


def check_dtype(dtype: str, device: torch.device | str, where: str) -> None:
    """Raise InputError, beginning with ``where``, if ``device`` cannot compute in ``dtype``."""
    if dtype == "int8":
        check_int8(device, where)


def resolved_dtype(dtype: str, device: torch.device | str) -> str:
    """Return ``dtype``, or `best_dtype` for ``auto``."""
    return best_dtype(device) if dtype == AUTO else dtype


def best_dtype(device: torch.device | str = "cpu") -> str:
    """Return bfloat16 if ``device`` multiplies faster in it than in float32, else float32.

    That is AMX or AVX512-BF16 on a CPU, and compute capability 8 on CUDA.
    """
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    found = torch.cpu.get_capabilities()
    is_fast = any(found.get(name, False) for name in _HALF_ON_CPU)
    return "bfloat16" if is_fast and torch.device(device).type == "cpu" else "float32"
