"""Methods in which the leader of a group computes and its followers take over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from asr.reuse.base import AttentionParts, LayerAttention
from asr.reuse.grouping import Grouping
from asr.reuse.none import AloneAttention
from asr.reuse.schedule import LayerRole, Role


@dataclass(frozen=True, kw_only=True)
class GroupReuse(Grouping, ABC):
    """A method says what leads and what follows; ALONE layers attend in the fused kernel."""

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """All heads of a follower."""
        return num_heads if layer.role is Role.FOLLOW else 0

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """A `LayerAttention` with exactly the parameters the layer's role needs."""
        if layer.role is Role.LEAD:
            return self.lead(parts, num_followers=layer.num_followers)
        if layer.role is Role.FOLLOW:
            return self.follow(parts)
        return AloneAttention(parts.scores(), parts.mix(), fused=True)

    @abstractmethod
    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Attention that hands on what ``num_followers`` layers take over."""

    @abstractmethod
    def follow(self, parts: AttentionParts) -> LayerAttention:
        """What is left of attention in a layer that takes over."""
