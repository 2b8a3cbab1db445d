"""The attention maps of every layer, and a forward pass with replaced attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from asr.encoder.stack import Encoder
from asr.errors import InputError
from asr.nn.frames import Frames
from asr.reuse.base import AttentionCarry, LayerAttention


class EncoderLayer(Protocol):
    """The interface of an encoder's layers."""

    attention: LayerAttention
    attention_norm: nn.Module

    def before_attention(self, x_BTD: Tensor) -> Tensor:
        """Return the residual stream (B, T, D) that attention reads, before normalisation."""

    def __call__(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D) and the carry for the next layer."""


@dataclass(frozen=True, slots=True)
class EncoderMaps:
    """The output of the encoder, and the output and map of each layer.

    ``frames_BTD`` with ``lengths_B`` valid frames; ``outputs`` the output (B, T, D) of every layer;
    ``maps`` the map (B, H, T, T) of every layer, None for a layer without one; of an utterance with
    several rows, that of the first. Rows of padding are undefined.
    """

    frames_BTD: Tensor
    lengths_B: Tensor
    outputs: tuple[Tensor, ...]
    maps: tuple[Tensor | None, ...]


@torch.no_grad()
def encode_with_maps(encoder: Encoder, features_BTF: Tensor, lengths_B: Tensor) -> EncoderMaps:
    """Run ``encoder`` in inference and return each layer's map and output.

    Raises:
        InputError: layers have different frame rates.
    """
    check_one_rate(encoder)
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
        if own is not None:
            own = own[:: encoder.num_rows]
        elif role.leader is not None:
            own = maps[role.leader]
        maps.append(own)
        x_BTD, carry = layer(x_BTD, frames, carry)
        outputs.append(encoder.norm(x_BTD))
    return EncoderMaps(encoder.norm(x_BTD), lengths_B, tuple(outputs), tuple(maps))


def check_one_rate(encoder: Encoder) -> None:
    """Raise InputError if layers have different frame rates, so that maps cannot be compared."""
    if encoder.pooling.after:
        raise InputError(
            f"encoder.pool_after={list(encoder.pooling.after)}: maps of layers with different "
            "frame rates are not analysed; allowed: []"
        )


class Replay:
    """One batch through ``encoder`` in inference, with the input of every layer stored.

    ``frames_BTD`` is the output of the encoder, with ``lengths_B`` valid frames.

    Raises:
        InputError: layers have different frame rates.
    """

    @torch.inference_mode()
    def __init__(self, encoder: Encoder, features_BTF: Tensor, lengths_B: Tensor) -> None:
        check_one_rate(encoder)
        assert not encoder.training
        self._encoder = encoder
        x_BTD, self.lengths_B, self._frames = encoder.prepare(features_BTF, lengths_B)
        self._inputs: list[Tensor] = []
        carry: AttentionCarry | None = None
        for layer in encoder.layers:
            self._inputs.append(x_BTD)
            x_BTD, carry = layer(x_BTD, self._frames, carry)
        self.frames_BTD: Tensor = encoder.norm(x_BTD)

    @torch.inference_mode()
    def with_attention(self, attention: Mapping[int, LayerAttention]) -> Tensor:
        """Return the encoder's output (B, T, D) with the attention of some layers replaced.

        Only the layers from the first replaced one on are run; its attention must not need a carry.
        """
        first = min(attention)
        x_BTD, carry = self._inputs[first], None
        for index in range(first, len(self._inputs)):
            layer = cast(EncoderLayer, self._encoder.layers[index])
            with _attending(layer, attention.get(index, layer.attention)):
                x_BTD, carry = layer(x_BTD, self._frames, carry)
        frames_BTD: Tensor = self._encoder.norm(x_BTD)
        return frames_BTD


@contextmanager
def _attending(layer: EncoderLayer, attention: LayerAttention) -> Iterator[None]:
    own = layer.attention
    layer.attention = attention
    try:
        yield
    finally:
        layer.attention = own
