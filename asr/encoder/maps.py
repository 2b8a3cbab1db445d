"""Where every layer looks: the attention maps of an encoder, for analysis.

A forward pass need not build a map at all (the fused kernel never does). Here the same layers run
in the same order, and beside each its map is computed once more from the input of its attention.
Nothing in the layers is switched or stored for it.

Shape legend: B batch, T frames, F mel bins, D model width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from asr.encoder.stack import Encoder
from asr.nn.frames import Frames
from asr.reuse.base import AttentionCarry, LayerAttention


class EncoderLayer(Protocol):
    """What every layer of an encoder has around its attention."""

    attention: LayerAttention
    attention_norm: nn.Module

    def before_attention(self, x_BTD: Tensor) -> Tensor:
        """The residual stream (B, T, D) where attention reads it, not yet normalised."""

    def __call__(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and the carry for the next layer."""


@dataclass(frozen=True, slots=True)
class EncoderMaps:
    """What the encoder gives, and what went on inside.

    ``frames_BTD`` with ``lengths_B`` valid frames; ``outputs`` the output (B, T, D) of every layer;
    ``maps`` the map (B, H, T, T) of every layer, None where a layer has none. Rows of padding hold
    anything.
    """

    frames_BTD: Tensor
    lengths_B: Tensor
    outputs: tuple[Tensor, ...]
    maps: tuple[Tensor | None, ...]


@torch.no_grad()
def encode_with_maps(encoder: Encoder, features_BTF: Tensor, lengths_B: Tensor) -> EncoderMaps:
    """Run ``encoder`` in inference and return the map of each layer beside its output."""
    assert not encoder.training
    x_BTD, lengths_B, frames = encoder.prepare(features_BTF, lengths_B)
    carry: AttentionCarry | None = None
    outputs: list[Tensor] = []
    maps: list[Tensor | None] = []
    for role, module in zip(encoder.schedule, encoder.layers, strict=True):
        layer = cast(EncoderLayer, module)
        carry = None if role.begins_part else carry
        attention_input = layer.attention_norm(layer.before_attention(x_BTD))
        own = layer.attention.attention_map(attention_input, frames, carry)
        if own is None and role.leader is not None:
            own = maps[role.leader]
        maps.append(own)
        x_BTD, carry = layer(x_BTD, frames, carry)
        outputs.append(encoder.norm(x_BTD))
    return EncoderMaps(encoder.norm(x_BTD), lengths_B, tuple(outputs), tuple(maps))
