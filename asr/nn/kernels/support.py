"""Where the kernels run: the only part of them that is imported without Triton."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)
DTYPES = (torch.float32, *HALF)
_LEAST_CAPABILITY = (8, 0)  # Ampere: the first with bfloat16 and asynchronous copies


def runs_here(x: Tensor, dtypes: Collection[torch.dtype] = DTYPES) -> bool:
    """Whether kernels for ``dtypes`` may take the place of plain operations on ``x``.

    They have no backward pass, so only where no gradient is taken.
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
    """Triton comes with PyTorch for CUDA on Linux; other builds lack it."""
    return (
        torch.version.cuda is not None
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(device) >= _LEAST_CAPABILITY
    )
