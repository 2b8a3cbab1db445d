"""The reuse seam: what a leader hands on, and how a method builds the attention of each role.

The stack threads one `AttentionCarry` from layer to layer as a return value:

    x, carry = layer(x, frames, carry)

A method is one file with one class. It says which step's result (project, score or mix) travels
in the carry, and therefore which parameters a follower does not have.

Shape legend: B batch, T frames, D model width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.reuse.schedule import (
    Role,
    Schedule,
    schedule_from_group_size,
    schedule_from_groups,
    schedule_from_leaders,
    schedule_from_pattern,
)
from asr.types import InputError


@dataclass(frozen=True, slots=True)
class AttentionCarry:
    """What the latest leader handed on; each method fills the field it defines.

    ``probs_BHTT``: attention map after the softmax and before dropout.
    """

    probs_BHTT: Tensor | None = None


class LayerAttention(Protocol):
    """Attention of one layer. Called with the normalised input of the layer."""

    def __call__(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor, AttentionCarry | None]:
        """Output (B, T, D) and the carry for the next layer."""

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """The map (B, H, T, T) by which a call with these arguments mixes, for analysis.

        None where it is the leader's and the carry does not hold it, or where there is no map.
        """


@dataclass(frozen=True, slots=True)
class AttentionParts:
    """Makers of the two halves of a layer's attention, as the encoder dimensions them."""

    scores: Callable[[], AttentionScores]
    mix: Callable[[], ValueMix]
    num_heads: int


class ReuseMethod(Protocol):
    """One way to reuse attention; resolved against an encoder's depth."""

    @property
    def name(self) -> str:
        """Name in tables, records and configs."""

    def schedule(self, num_layers: int) -> Schedule:
        """One role per layer."""

    def heads_reused(self, role: Role, num_heads: int) -> int:
        """How many of the heads of a layer in this role come from its leader."""

    def attention(self, role: Role, parts: AttentionParts) -> nn.Module:
        """A `LayerAttention` with exactly the parameters the role needs."""


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """How a config names a schedule: exactly one of four ways.

    Attributes:
        groups: sizes of consecutive groups, adding up to the number of layers.
        group_size: equal consecutive groups.
        pattern: A (alone), L (lead), F (follow), tiled over the depth.
        leaders: for every layer the index of the layer whose attention it uses.
    """

    groups: list[int] | None = None
    group_size: int | None = None
    pattern: str | None = None
    leaders: list[int] | None = None

    def schedule(self, num_layers: int) -> Schedule:
        """One role per layer.

        Raises:
            InputError: none or several of the four ways given, or the one given breaks a rule.
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
