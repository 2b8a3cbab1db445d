"""Fewer heads in every layer: the simplest way to compute less attention.

A head is as wide as in the full layer (Vaswani et al. 2017, section 3.2.2), so queries, keys,
values, positions and the output projection all shrink with the number of heads. Michel et al. 2019
(Are sixteen heads really better than one?) remove heads from trained models; here models are
trained without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from asr.errors import InputError
from asr.reuse.base import AttentionParts, EveryLayerAlone, LayerAttention
from asr.reuse.none import AloneAttention
from asr.reuse.schedule import LayerRole


@dataclass(frozen=True, kw_only=True)
class FewHeads(EveryLayerAlone):
    """``num_heads`` heads in every layer, fewer than the encoder would have."""

    name: ClassVar[str] = "few_heads"
    num_heads: int

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return self-attention with ``num_heads`` heads.

        Raises:
            InputError: ``num_heads`` is below 1, or not below the encoder's.
        """
        if not 1 <= self.num_heads < parts.num_heads:
            raise InputError(
                f"reuse.num_heads={self.num_heads}: allowed: 1 to {parts.num_heads - 1}, "
                f"below encoder.num_heads={parts.num_heads}"
            )
        scores, mix = parts.scores(self.num_heads), parts.mix(self.num_heads)
        return AloneAttention(scores, mix, fused=True)
