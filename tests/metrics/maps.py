"""Attention maps to measure."""

from __future__ import annotations

import torch
from torch import Tensor

NUM_LAYERS, NUM_HEADS, NUM_FRAMES = 3, 2, 7


def random_maps(
    num_frames: int = NUM_FRAMES, *, num_layers: int = NUM_LAYERS, seed: int = 0
) -> Tensor:
    """(L, H, T, T), rows far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(num_layers, NUM_HEADS, num_frames, num_frames, generator=generator)
    return (2 * scores).softmax(-1)


def uniform_maps(num_frames: int = NUM_FRAMES) -> Tensor:
    return torch.full((1, 1, num_frames, num_frames), 1 / num_frames)


def diagonal_maps(num_frames: int = NUM_FRAMES) -> Tensor:
    return torch.eye(num_frames).expand(1, 1, -1, -1)
