"""Few shapes of batches, for what is prepared once per shape.

cuDNN plans a convolution when it meets a new shape, which takes longer than computing it; a CUDA
graph is recorded for one shape. Padding to a few lengths lets later batches use what is there.
"""

from __future__ import annotations

from torch import Tensor

_LEAST_STEP = 64


def padded_length(num_frames: int) -> int:
    """Return the next of few lengths: 16 per doubling, at least 64 frames apart."""
    step = max(_LEAST_STEP, (1 << (num_frames - 1).bit_length()) // 16)
    return -(-num_frames // step) * step


def is_planned_by_shape(x: Tensor) -> bool:
    """Return whether convolutions of ``x`` are planned anew for every shape, as on CUDA."""
    return x.is_cuda
