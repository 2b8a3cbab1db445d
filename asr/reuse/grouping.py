"""Groups of layers in the config, and the base class of methods with leaders and followers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from asr.errors import InputError
from asr.reuse.base import AttentionParts, LayerAttention
from asr.reuse.none import AloneAttention
from asr.reuse.schedule import (
    LayerRole,
    Role,
    Schedule,
    schedule_from_group_size,
    schedule_from_groups,
    schedule_from_leaders,
    schedule_from_pattern,
)


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """A schedule given in exactly one of four ways.

    Attributes:
        groups: sizes of consecutive groups, adding up to the number of layers.
        group_size: size of equal consecutive groups.
        pattern: A (alone), L (lead), F (follow), repeated over the depth.
        leaders: for every layer the index of the layer whose attention it uses.
    """

    groups: list[int] | None = None
    group_size: int | None = None
    pattern: str | None = None
    leaders: list[int] | None = None

    def schedule(self, num_layers: int) -> Schedule:
        """Return one role per layer.

        Raises:
            InputError: not exactly one of the four ways is given, or the given one breaks a rule.
        """
        ways = {
            "groups": self.groups,
            "group_size": self.group_size,
            "pattern": self.pattern,
            "leaders": self.leaders,
        }
        given = [way for way, value in ways.items() if value is not None]
        if len(given) != 1:
            raise InputError(
                f"reuse: give exactly one of {', '.join(ways)}; given: {', '.join(given) or 'none'}"
                " (switch one off with reuse.NAME=null)"
            )
        if self.groups is not None:
            return schedule_from_groups(self.groups, num_layers)
        if self.group_size is not None:
            return schedule_from_group_size(self.group_size, num_layers)
        if self.pattern is not None:
            return schedule_from_pattern(self.pattern, num_layers)
        assert self.leaders is not None
        return schedule_from_leaders(self.leaders, num_layers)


@dataclass(frozen=True, kw_only=True)
class GroupReuse(Grouping, ABC):
    """Base class of methods with leaders and followers; ALONE layers use the fused kernel."""

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """Return all heads for a follower, else 0."""
        return num_heads if layer.role is Role.FOLLOW else 0

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return a `LayerAttention` with exactly the parameters that the layer's role needs."""
        if layer.role is Role.LEAD:
            return self.lead(parts, num_followers=layer.num_followers)
        if layer.role is Role.FOLLOW:
            return self.follow(parts)
        return AloneAttention(parts.scores(), parts.mix(), fused=True)

    @abstractmethod
    def lead(self, parts: AttentionParts, *, num_followers: int) -> LayerAttention:
        """Return the attention of a leader with ``num_followers`` followers."""

    @abstractmethod
    def follow(self, parts: AttentionParts) -> LayerAttention:
        """Return the attention of a follower."""
