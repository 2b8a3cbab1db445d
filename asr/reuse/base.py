"""The reuse seam: what a leader hands on, and how a method builds the attention of each role."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from asr.nn.attention import AttentionScores, ValueMix
from asr.nn.frames import Frames
from asr.nn.position_kinds import make_positions, make_query_positions
from asr.nn.positions import PositionKind, Positions
from asr.reuse.schedule import LayerRole, Role, Schedule


class AttentionCarry:
    """What the latest leader handed on; a method that hands something on defines its own kind."""

    __slots__ = ()

    @classmethod
    def of(cls, carry: AttentionCarry | None) -> Self:
        """``carry``, which a leader of this kind handed on."""
        assert isinstance(carry, cls)
        return carry


class LayerAttention(nn.Module, ABC):
    """Attention of one layer; called with the normalised input of the layer.

    ``reads_input`` is False where the role needs no input, and so no normalisation of it.
    """

    reads_input: ClassVar[bool] = True
    works_in_chunks: ClassVar[bool] = True
    """Whether it may be called with blocks of frames that see a window (`Frames.window`)."""

    @abstractmethod
    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor | None, AttentionCarry | None]:
        """Output (B, T, D), None where there is none to add, and the carry for the next layer."""

    @abstractmethod
    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """The map (B, H, T, T) by which a call with these arguments mixes, for analysis.

        None where it is the leader's and the carry does not hold it, or where there is no map.
        """

    def inherit(self, own: SelfAttention, followers: Sequence[SelfAttention]) -> set[str]:
        """Take over what this role has of the full attention that the layer was trained with.

        ``followers`` is the full attention of the layers this one leads, in order. Copied is every
        tensor of ``own`` with a name and shape that this module has too; a role that can make more
        of them says so. Returns the names of the tensors that were filled.
        """
        given = own.state_dict()
        fitting = {
            name: given[name]
            for name, tensor in self.state_dict().items()
            if name in given and given[name].shape == tensor.shape
        }
        return fill(self, fitting)


class SelfAttention(LayerAttention):
    """Attention by queries, keys and values of the layer's own."""

    def __init__(self, scores: AttentionScores, mix: ValueMix) -> None:
        super().__init__()
        self.scores = scores
        self.mix = mix

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """This layer's map, whichever kernel mixes by it."""
        probs_BHTT: Tensor = self.scores(x_BTD, frames)
        return probs_BHTT


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> set[str]:
    """Copy ``tensors`` into those of ``module`` by their names, which are returned."""
    state = module.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            state[name].copy_(tensor)
    return set(tensors)


def check_frame_rate(num_carried: int, num_frames: int) -> None:
    """Refuse to reuse what was computed over another number of frames than a layer has.

    Raises:
        ValueError: the numbers differ.
    """
    if num_carried != num_frames:
        raise ValueError(
            f"attention over {num_carried} frames cannot serve a layer with {num_frames} frames: "
            "reuse must not cross a change of frame rate"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionParts:
    """Makes the parts of a layer's attention as the encoder dimensions them.

    ``max_map_mib`` as in `AttentionScores`.
    """

    d_model: int
    num_heads: int
    positions: PositionKind
    dropout: float
    max_map_mib: float | None = None

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.d_model // self.num_heads

    def scores(
        self, num_heads: int | None = None, *, positions: Positions | None = None
    ) -> AttentionScores:
        """Queries, keys and positions of ``num_heads`` heads (default: all).

        ``positions`` takes the place of the usual encoding of this kind.
        """
        num_heads = self.num_heads if num_heads is None else num_heads
        if positions is None:
            positions = make_positions(
                self.positions, d_model=self.d_model, num_heads=num_heads, head_dim=self.head_dim
            )
        return AttentionScores(
            d_model=self.d_model,
            num_heads=num_heads,
            head_dim=self.head_dim,
            positions=positions,
            max_map_mib=self.max_map_mib,
        )

    def query_positions(self) -> Positions:
        """Positions of a layer whose keys come from another one."""
        return make_query_positions(
            self.positions, num_heads=self.num_heads, head_dim=self.head_dim
        )

    def mix(self, num_heads: int | None = None) -> ValueMix:
        """Values and output projection of ``num_heads`` heads (default: all)."""
        return ValueMix(
            d_model=self.d_model,
            num_heads=self.num_heads if num_heads is None else num_heads,
            head_dim=self.head_dim,
            dropout=self.dropout,
        )


@runtime_checkable
class ReuseMethod(Protocol):
    """One way to reuse attention; resolved against an encoder's depth."""

    @property
    def name(self) -> str:
        """Name in tables, records and configs."""

    def schedule(self, num_layers: int) -> Schedule:
        """One role per layer."""

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """How many of the heads of a layer come from its leader."""

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """A `LayerAttention` with exactly the parameters the layer's role needs."""


class EveryLayerAlone:
    """Part of a method whose layers all compute their own attention."""

    def schedule(self, num_layers: int) -> Schedule:
        """ALONE for every layer."""
        return tuple(LayerRole(layer, Role.ALONE) for layer in range(num_layers))

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """None."""
        return 0
