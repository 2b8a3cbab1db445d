"""A forward pass that can be gone on with from any layer, with other attention in some.

Shape legend: B batch, T frames, F mel bins, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

from asr.encoder.maps import EncoderLayer
from asr.encoder.stack import Encoder
from asr.reuse.base import AttentionCarry, LayerAttention


class Replay:
    """One batch through ``encoder`` in inference; the input of every layer is kept.

    ``frames_BTD`` is what the encoder gives, with ``lengths_B`` valid frames.
    """

    @torch.inference_mode()
    def __init__(self, encoder: Encoder, features_BTF: Tensor, lengths_B: Tensor) -> None:
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
        """What the encoder gives (B, T, D) where the layers named attend in another way.

        Only the layers from the first one named on are run; the first needs no carry.
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
