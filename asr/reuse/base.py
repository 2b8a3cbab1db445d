"""The interface of reuse methods: the carry from leader to followers, and attention per role."""

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
    """What the latest leader passes on; methods that pass something on define a subclass."""

    __slots__ = ()

    @classmethod
    def of(cls, carry: AttentionCarry | None) -> Self:
        """Return ``carry`` as an instance of this class, which the leader passed on."""
        assert isinstance(carry, cls)
        return carry


class LayerAttention(nn.Module, ABC):
    """The attention of one layer, called with the layer's normalised input.

    ``reads_input`` is False if the role needs no input, and therefore no normalisation.
    """

    reads_input: ClassVar[bool] = True
    works_in_chunks: ClassVar[bool] = True
    """Whether it can be called with blocks of frames that see a window (`Frames.window`)."""

    @abstractmethod
    def forward(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> tuple[Tensor | None, AttentionCarry | None]:
        """Return the output (B, T, D), None if there is none, and the carry for the next layer."""

    @abstractmethod
    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return the map (B, H, T, T) that `forward` uses with these arguments, for analysis.

        It is None if there is no map, or if it is the leader's and not in the carry.
        """

    def inherit(self, own: SelfAttention, followers: Sequence[SelfAttention]) -> set[str]:
        """Copy this role's parameters from the full attention that the layer was trained with.

        ``followers`` is the full attention of the layers that follow this one, in order. Every
        tensor of ``own`` is copied whose name and shape this module has too; a role that can fill
        more overrides this. Returns the names of the tensors that were filled.
        """
        given = own.state_dict()
        fitting = {
            name: given[name]
            for name, tensor in self.state_dict().items()
            if name in given and given[name].shape == tensor.shape
        }
        return fill(self, fitting)


class SelfAttention(LayerAttention):
    """Attention with the layer's own queries, keys and values."""

    def __init__(self, scores: AttentionScores, mix: ValueMix) -> None:
        super().__init__()
        self.scores = scores
        self.mix = mix

    def attention_map(
        self, x_BTD: Tensor, frames: Frames, carry: AttentionCarry | None
    ) -> Tensor | None:
        """Return this layer's map, whichever kernel `forward` uses."""
        probs_BHTT: Tensor = self.scores(x_BTD, frames)
        return probs_BHTT


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> set[str]:
    """Copy ``tensors`` into those of ``module`` with the same names; return the names."""
    state = module.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            state[name].copy_(tensor)
    return set(tensors)


def check_frame_rate(num_carried: int, num_frames: int) -> None:
    """Refuse to reuse attention over a different number of frames than the layer has."""
    if num_carried != num_frames:
        raise ValueError(
            f"attention over {num_carried} frames cannot serve a layer with {num_frames} frames: "
            "reuse must not cross a change of frame rate"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionParts:
    """A factory for the parts of a layer's attention, with the dimensions of the encoder.

    ``max_map_mib`` is that of `AttentionScores`.
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
        """Return queries, keys and positions of ``num_heads`` heads (default: all).

        ``positions`` replaces the encoder's usual position encoding.
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
        """Return the positions of a layer whose keys come from another layer."""
        return make_query_positions(
            self.positions, num_heads=self.num_heads, head_dim=self.head_dim
        )

    def mix(self, num_heads: int | None = None) -> ValueMix:
        """Return values and output projection of ``num_heads`` heads (default: all)."""
        return ValueMix(
            d_model=self.d_model,
            num_heads=self.num_heads if num_heads is None else num_heads,
            head_dim=self.head_dim,
            dropout=self.dropout,
        )


@runtime_checkable
class ReuseMethod(Protocol):
    """A method of reusing attention, applicable to an encoder of any depth."""

    @property
    def name(self) -> str:
        """Name in tables, records and configs."""

    def schedule(self, num_layers: int) -> Schedule:
        """Return one role per layer."""

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """Return how many heads of a layer come from its leader."""

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return a `LayerAttention` with exactly the parameters that the layer's role needs."""


class EveryLayerAlone:
    """A base class of methods in which every layer computes its own attention."""

    def schedule(self, num_layers: int) -> Schedule:
        """Return ALONE for every layer."""
        return tuple(LayerRole(layer, Role.ALONE) for layer in range(num_layers))

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """Return 0."""
        return 0
