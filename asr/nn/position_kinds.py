"""The position encodings by their names in the config."""

from __future__ import annotations

from asr.errors import InputError
from asr.nn.positions import PositionKind, Positions
from asr.nn.relative import RelativePositions, RelativeQueries
from asr.nn.rotary import RotaryPositions
from asr.nn.span_positions import (
    GroupedRelativePositions,
    GroupedRotaryPositions,
    PooledRelativePositions,
    PooledRotaryPositions,
)


def position_class(kind: PositionKind) -> type[Positions]:
    """Return the class of a position encoding.

    Raises:
        InputError: ``kind`` is unknown.
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
    """Return the position encoding of a layer with its own queries and keys."""
    if kind == "relative":
        return RelativePositions(d_model=d_model, num_heads=num_heads, head_dim=head_dim)
    return position_class(kind)()


def make_query_positions(kind: PositionKind, *, num_heads: int, head_dim: int) -> Positions:
    """Return the position encoding of a layer that takes its keys from another layer."""
    if kind == "relative":
        return RelativeQueries(num_heads=num_heads, head_dim=head_dim)
    return position_class(kind)()


def make_grouped_positions(
    kind: PositionKind, *, d_model: int, num_heads: int, head_dim: int, frames_per_group: int
) -> Positions:
    """Return the position encoding of a layer that attends over groups of frames.

    ``head_dim`` is the width of a head for one frame.
    """
    if kind == "relative":
        return GroupedRelativePositions(
            d_model=d_model,
            num_heads=num_heads,
            head_dim=frames_per_group * head_dim,
            frames_per_group=frames_per_group,
        )
    return GroupedRotaryPositions() if kind == "rotary" else position_class(kind)()


def make_pooled_positions(
    kind: PositionKind, *, d_model: int, num_heads: int, head_dim: int, pool_size: int
) -> Positions:
    """Return the position encoding of a layer whose keys are averages over pools of frames."""
    if kind == "relative":
        return PooledRelativePositions(
            d_model=d_model, num_heads=num_heads, head_dim=head_dim, pool_size=pool_size
        )
    return (
        PooledRotaryPositions(pool_size=pool_size) if kind == "rotary" else position_class(kind)()
    )
