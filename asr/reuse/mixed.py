"""Several methods in one encoder: consecutive runs of layers, each with its own method.

Every part resolves its schedule over its own layers as if it were a whole encoder, and nothing is
passed on from one part to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from asr.errors import InputError
from asr.reuse.base import AttentionParts, LayerAttention, ReuseMethod
from asr.reuse.schedule import LayerRole, Schedule


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run of ``layers`` layers with one method.

    With ``layers`` None the part gets an equal share of the layers that other parts leave; any
    remainder goes to the lower parts, one layer each.
    """

    method: ReuseMethod
    layers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRole(LayerRole):
    """The role of a layer, and its role ``inside`` part number ``part`` with method ``reuse``."""

    part: int
    reuse: ReuseMethod
    inside: LayerRole


class Mixed:
    """Methods for runs of layers, given as ``parts`` from the bottom layer up."""

    name: ClassVar[str] = "mixed"

    def __init__(self, *, parts: list[Part]) -> None:
        self.parts = parts

    def schedule(self, num_layers: int) -> Schedule:
        """Return the roles of all parts, from bottom to top.

        Raises:
            InputError: the parts do not add up to ``num_layers``, or one cannot be scheduled.
        """
        roles: list[PartRole] = []
        for index, (part, size) in enumerate(zip(self.parts, self._sizes(num_layers), strict=True)):
            with _keys_of_part(index):
                inside = part.method.schedule(size)
            start = len(roles)
            roles += [
                PartRole(
                    layer=start + role.layer,
                    role=role.role,
                    leader=None if role.leader is None else start + role.leader,
                    num_followers=role.num_followers,
                    method=role.method or part.method.name,
                    begins_part=role.layer == 0 or role.begins_part,
                    part=index,
                    reuse=part.method,
                    inside=role,
                )
                for role in inside
            ]
        return tuple(roles)

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """Return the number that the method of the layer's part gives."""
        assert isinstance(layer, PartRole)
        return layer.reuse.heads_reused(layer.inside, num_heads)

    def attention(self, layer: LayerRole, parts: AttentionParts) -> LayerAttention:
        """Return the attention that the method of the layer's part makes.

        Raises:
            InputError: as the part's method raises it.
        """
        assert isinstance(layer, PartRole)
        with _keys_of_part(layer.part):
            return layer.reuse.attention(layer.inside, parts)

    def _sizes(self, num_layers: int) -> list[int]:
        """Return the number of layers of each part."""
        given = [part.layers for part in self.parts]
        for index, layers in enumerate(given):
            if layers is not None and layers < 1:
                raise InputError(
                    f"reuse.parts[{index}].layers={layers}: allowed: 1 or more, or null for a "
                    "share of what the other parts leave"
                )
        num_given = sum(layers or 0 for layers in given)
        num_left, num_shares = num_layers - num_given, given.count(None)
        if num_shares == 0 and num_left != 0:
            raise InputError(
                f"reuse.parts add up to {num_given} layers, but encoder.num_layers={num_layers}"
            )
        if num_left < num_shares:
            raise InputError(
                f"reuse.parts leave {max(0, num_left)} of encoder.num_layers={num_layers} to "
                f"{num_shares} parts with layers=null: each needs 1 or more"
            )
        shares = iter(-(-(num_left - index) // num_shares) for index in range(num_shares))
        return [next(shares) if layers is None else layers for layers in given]


@contextmanager
def _keys_of_part(index: int) -> Iterator[None]:
    """Change the config keys in an error of a part's method to those of the part."""
    key = f"reuse.parts[{index}]"
    try:
        yield
    except InputError as error:
        moved = error.moved("reuse", f"{key}.method").moved("encoder.num_layers", f"{key}.layers")
        raise moved from None
