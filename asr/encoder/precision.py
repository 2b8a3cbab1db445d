"""What an encoder computes in: half precision, 8 bits, or what the processor is best at."""

from __future__ import annotations

import torch

from asr.encoder.stack import Encoder
from asr.nn.int8 import check_int8, to_int8
from asr.types import DTYPES

AUTO = "auto"
"""Stands for `best_dtype` where a dtype is asked for."""

_HALF_ON_CPU = ("amx_bf16", "avx512_bf16")


def compute_in(encoder: Encoder, dtype: str) -> None:
    """Let ``encoder`` compute in ``dtype``, one of `DTYPES`; ``int8`` for inference alone.

    Raises:
        InputError: ``int8`` away from a CPU, see `to_int8`.
    """
    assert dtype in DTYPES, dtype
    if dtype == "int8":
        to_int8(encoder)
    else:
        encoder.to(getattr(torch, dtype))


def check_dtype(dtype: str, device: torch.device | str, where: str) -> None:
    """Raise InputError where ``device`` cannot compute in ``dtype``; ``where`` asks for it."""
    if dtype == "int8":
        check_int8(device, where)


def resolved_dtype(dtype: str, device: torch.device | str) -> str:
    """``dtype``, or for ``auto`` the best of ``device``."""
    return best_dtype(device) if dtype == AUTO else dtype


def best_dtype(device: torch.device | str = "cpu") -> str:
    """bfloat16 where ``device`` multiplies in it faster than in float32, else float32.

    That is AMX or AVX512-BF16 on a CPU, and compute capability 8 on CUDA.
    """
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    found = torch.cpu.get_capabilities()
    is_fast = any(found.get(name, False) for name in _HALF_ON_CPU)
    return "bfloat16" if is_fast and torch.device(device).type == "cpu" else "float32"
