"""The position encodings by their names in a config."""

from __future__ import annotations

from asr.nn.positions import PositionKind, Positions
from asr.nn.relative import RelativePositions, RelativeQueries
from asr.nn.rotary import RotaryPositions
from asr.types import InputError


def position_class(kind: PositionKind) -> type[Positions]:
    """The class of a position encoding.

    Raises:
        InputError: no such encoding.
    """
    classes: dict[str, type[Positions]] = {
        "relative": RelativePositions,
        "rotary": RotaryPositions,
        "none": Positions,
    }
    if kind not in classes:
        raise InputError(f"encoder.positions={kind!r}: allowed: {', '.join(classes)}")
    return classes[kind]


def make_positions(kind: PositionKind, *, d_model: int, num_heads: int, head_dim: int) -> Positions:
    """The position encoding of a layer with its own queries and keys."""
    if kind == "relative":
        return RelativePositions(d_model=d_model, num_heads=num_heads, head_dim=head_dim)
    return position_class(kind)()


def make_query_positions(kind: PositionKind, *, num_heads: int, head_dim: int) -> Positions:
    """The position encoding of a layer whose keys come from another one."""
    if kind == "relative":
        return RelativeQueries(num_heads=num_heads, head_dim=head_dim)
    return position_class(kind)()
