"""Kernels run on CUDA, or on the CPU in Triton's interpreter where ``TRITON_INTERPRET`` is set."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None
if IS_INTERPRETED:
    from tests.nn.kernels.interpreter import mend

    mend()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where the kernels run; skips where they cannot."""
    if IS_INTERPRETED:
        from asr.nn.kernels import support

        def runs_here(
            x: torch.Tensor, dtypes: tuple[torch.dtype, ...] = support.KERNEL_DTYPES
        ) -> bool:
            return x.dtype in dtypes and not torch.is_grad_enabled()

        monkeypatch.setattr(support, "runs_here", runs_here)
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, or Triton's interpreter (see test_interpreted.py)")
    return torch.device("cuda")
