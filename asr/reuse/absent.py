"""Encoders without attention in the upper layers.

Zhang et al. 2021 (On the usefulness of self-attention for automatic speech recognition with
Transformers) train encoders whose upper layers have no attention, without loss of accuracy. A reuse
schedule must beat this. Such a layer keeps its feed-forward modules and its convolution; attention
and the normalisation before it are removed and not replaced.

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from asr.errors import InputError
from asr.nn.frames import Frames
from asr.reuse.base import AttentionCarry, AttentionParts, LayerAttention
from asr.reuse.none import AloneAttention
from asr.reuse.schedule import LayerRole, Role, Schedule


class AbsentAttention(LayerAttention):
    """The attention of a layer that has none."""

    reads_input: ClassVar[bool] = False

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[None, AttentionCarry | None]:
        """Return None, and the carry unchanged."""
        return None, carry

    def attention_map(self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None) -> None:
        """Return None: there is no map."""


@dataclass(frozen=True, kw_only=True)
class Absent:
    """No attention from layer ``first_layer`` on, counted from 0; None for the upper half."""

    name: ClassVar[str] = "absent"
    first_layer: int | None = None

    def schedule(self, num_layers: int) -> Schedule:
        """Return ALONE below ``first_layer``, ABSENT from there on.

        Raises:
            InputError: the encoder has no layer ``first_layer``.
        """
        first_layer = num_layers // 2 if self.first_layer is None else self.first_layer
        if not 0 <= first_layer < num_layers:
            raise InputError(
                f"reuse.first_layer={first_layer}: allowed: 0 to {num_layers - 1}, "
                f"with encoder.num_layers={num_layers}"
            )
        return tuple(
            LayerRole(layer, Role.ALONE if layer < first_layer else Role.ABSENT)
            for layer in range(num_layers)
        )

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """Return 0."""
        return 0

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return self-attention with all its parameters, or `AbsentAttention`."""
        if layer.role is Role.ABSENT:
            return AbsentAttention()
        return AloneAttention(parts.scores(), parts.mix(), fused=True)
