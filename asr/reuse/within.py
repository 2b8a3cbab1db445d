"""One attention map feeds several value modules inside one layer, as in Zipformer.

Yao et al. 2023 (Zipformer: a faster and better encoder for automatic speech recognition) compute
the map once per block and use it again after a convolution and feed-forward modules. This module
uses only that idea, for any layer: several mixes run one after another. With x the normalised input
of the layer's attention and P its map,

    y_1 = M_1(x, P)        y_n = M_n(norm_n(x + y_1 + ... + y_{n-1}), P)

and the layer adds the sum of all y to its residual stream. A layer has more parameters than a plain
one and a map of the same cost; it saves every further map.

Shape legend: B batch, T frames, D model width, H heads.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from asr.nn.attention import AttentionScores, MapRows, ValueMix
from asr.nn.frames import ALL, Frames
from asr.nn.tiles import KeptRows
from asr.profiling.attention_steps import mixing
from asr.ranges import Range, in_ranges
from asr.reuse.base import (
    AttentionCarry,
    AttentionParts,
    EveryLayerAlone,
    LayerAttention,
    SelfAttention,
)
from asr.reuse.schedule import LayerRole, Role


class NormalisedMix(nn.Module):
    """A mix with a LayerNorm on its input."""

    def __init__(self, mix: ValueMix, *, d_model: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.mix = mix

    def forward(self, x_BTD: Tensor, probs_BHTT: KeptRows[MapRows], frames: Frames = ALL) -> Tensor:
        """Return the output (B, T, D)."""
        return self.mix.by_kept(self.norm(x_BTD), probs_BHTT, frames)


class WithinAttention(SelfAttention):
    """Self-attention whose map is used by ``mix`` and then by each of ``further``."""

    def __init__(
        self, scores: AttentionScores, mix: ValueMix, further: list[NormalisedMix]
    ) -> None:
        super().__init__(scores, mix)
        self.further = nn.ModuleList(further)

    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Return the output (B, T, D), the sum of all mixes, and the carry unchanged."""
        probs_BHTT = self.scores.map(x_BTD, frames)
        output_BTD = self.mix.by_kept(x_BTD, probs_BHTT, frames)
        for mix in self.further:
            with mixing:
                output_BTD = output_BTD + mix(x_BTD + output_BTD, probs_BHTT, frames)
        return output_BTD, carry


@in_ranges("reuse")
class ReuseWithin(EveryLayerAlone):
    """Every layer ALONE, with ``num_mixes`` value modules on its map; 1 is the baseline."""

    name = "within"

    def __init__(self, *, num_mixes: Annotated[int, Range(1, 64)] = 2) -> None:
        self.num_mixes = num_mixes

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return scores and ``num_mixes`` mixes, with a LayerNorm before all but the first."""
        assert layer.role is Role.ALONE
        further = [
            NormalisedMix(parts.mix(), d_model=parts.d_model) for _ in range(self.num_mixes - 1)
        ]
        return WithinAttention(parts.scores(), parts.mix(), further)
