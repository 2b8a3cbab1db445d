"""Lengths to padding masks: the only place that builds masks.

Shape legend: B batch, T frames, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def padding_mask(lengths_B: Tensor, num_frames: int) -> Tensor | None:
    """(B, T) bool, True = padding; None when no frame is padding.

    A graph, exported or recorded, serves every batch and always has one.
    """
    in_graph = torch.compiler.is_exporting() or is_recorded(lengths_B)
    if not in_graph and bool((lengths_B >= num_frames).all()):
        return None
    return torch.arange(num_frames, device=lengths_B.device) >= lengths_B.unsqueeze(1)


def is_recorded(x: Tensor) -> bool:
    """Whether operations on ``x`` are being recorded for a CUDA graph."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def zero_padding(x_BTD: Tensor, padding_mask: Tensor | None) -> Tensor:
    """The same frames with zeros where ``padding_mask`` (B, T) is True."""
    if padding_mask is None:
        return x_BTD
    return x_BTD.masked_fill(padding_mask.unsqueeze(-1), 0.0)
