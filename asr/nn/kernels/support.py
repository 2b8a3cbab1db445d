"""The check whether Triton kernels can run; the only kernel module imported without Triton."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)
KERNEL_DTYPES = (torch.float32, *HALF)
_LEAST_CAPABILITY = (8, 0)  # Ampere: the first with bfloat16 and asynchronous copies


def runs_here(x: Tensor, dtypes: Collection[torch.dtype] = KERNEL_DTYPES) -> bool:
    """Return whether kernels for ``dtypes`` can replace plain operations on ``x``.

    The kernels have no backward pass, so they are used only if no gradient is taken.
    """
    return (
        x.is_cuda
        and x.dtype in dtypes
        and not torch.is_grad_enabled()
        and not torch.compiler.is_exporting()
        and _is_supported(x.device)
    )


@cache
def _is_supported(device: torch.device) -> bool:
    """Return whether Triton and the GPU fit; only PyTorch for CUDA on Linux includes Triton."""
    return (
        torch.version.cuda is not None
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(device) >= _LEAST_CAPABILITY
    )
