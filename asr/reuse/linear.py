"""Linear attention: feature maps replace the softmax, and the cost is linear in T.

Katharopoulos et al. 2020 (Transformers are RNNs, eq. 4 to 6), not causal, with their feature map
elu(x) + 1 of queries and keys. Rotary positions rotate the features in the numerator only (Su et
al. 2021, RoFormer, eq. 19). Relative positions cannot be used: there is no score to add them to, so
a layer has no position parameters, and only the convolutions know the order of frames. There is
also no map for dropout: it is applied only to the output of the layer.

Shape legend: B batch, T frames, D model width, H heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from asr.nn.attention import split_heads
from asr.nn.frames import Frames
from asr.nn.positions import Positions
from asr.nn.rotary import RotaryPositions
from asr.profiling.attention_steps import mixing, projecting, scoring
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    EveryLayerAlone,
    LayerAttention,
    SelfAttention,
)
from asr.reuse.schedule import LayerRole


class LinearAttention(SelfAttention):
    """Self-attention by features of the queries and keys that ``scores`` projects."""

    works_in_chunks: ClassVar[bool] = False

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), and the carry unchanged."""
        q_BHTK, k_BHTK = self._features(x_BTD, frames)
        v_BHTK = self.mix.project(x_BTD, frames)
        with scoring:
            norm_BHT1 = q_BHTK @ k_BHTK.sum(2).unsqueeze(-1)
        q_BHTK, k_BHTK = self._turned(q_BHTK, k_BHTK, frames)
        with mixing:
            sums_BHKK = k_BHTK.transpose(-1, -2) @ v_BHTK
            context_BHTK = (q_BHTK @ sums_BHKK) / norm_BHT1
        return self.mix.merge(context_BHTK), carry

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return the map (B, H, T, T) that `forward` uses; None with rotary positions.

        With rotary positions the weights of a row may be negative and do not sum to one, so they
        are no probabilities.
        """
        if isinstance(self.scores.positions, RotaryPositions):
            return None
        q_BHTK, k_BHTK = self._features(x_BTD, frames)
        products_BHTT = q_BHTK @ k_BHTK.transpose(-1, -2)
        return products_BHTT / products_BHTT.sum(-1, keepdim=True)

    @projecting
    def _features(self, x_BTD: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        """Return features (B, H, T, K) of queries, and of keys, which are zero for padding."""
        q_BHTK = features(split_heads(self.scores.query(x_BTD), self.scores.num_heads))
        k_BHTK = features(split_heads(self.scores.key(x_BTD), self.scores.num_heads))
        # Dividing by T cancels out in the output and keeps the sums in range in float16.
        k_BHTK = k_BHTK / x_BTD.shape[1]
        if frames.padding_mask is not None:
            k_BHTK = k_BHTK.masked_fill(frames.padding_mask[:, None, :, None], 0.0)
        return q_BHTK, k_BHTK

    def _turned(self, q_BHTK: Tensor, k_BHTK: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        keys = self.scores.positions.keys(k_BHTK, frames.position_table)
        return self.scores.positions.queries(q_BHTK, keys), keys.k_BHTK


def features(x_BHTK: Tensor) -> Tensor:
    """Return elu(x) + 1, in a form that keeps small values accurate in half precision."""
    return x_BHTK.clamp(max=0.0).exp() + x_BHTK.relu()


@dataclass(frozen=True, kw_only=True)
class Linear(EveryLayerAlone):
    """Linear attention in every layer."""

    name: ClassVar[str] = "linear"

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return queries, keys, values and output projection, without position parameters."""
        positions = RotaryPositions() if parts.positions == "rotary" else Positions()
        return LinearAttention(parts.scores(positions=positions), parts.mix())
