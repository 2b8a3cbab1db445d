from __future__ import annotations

from typing import Any

import pytest

from asr.errors import InputError
from asr.nn.position_kinds import (
    make_grouped_positions,
    make_pooled_positions,
    make_positions,
    make_query_positions,
    position_class,
)
from asr.nn.positions import PositionKind, Positions
from asr.nn.relative import RelativePositions, RelativeQueries
from asr.nn.rotary import RotaryPositions
from asr.nn.span_positions import (
    GroupedRelativePositions,
    GroupedRotaryPositions,
    PooledRelativePositions,
    PooledRotaryPositions,
)

SIZES: dict[str, Any] = {"num_heads": 3, "head_dim": 4}


@pytest.mark.parametrize(
    ("kind", "own", "query_side"),
    [
        ("relative", RelativePositions, RelativeQueries),
        ("rotary", RotaryPositions, RotaryPositions),
        ("none", Positions, Positions),
    ],
)
def test_a_name_gives_the_encoding_of_both_sides_or_of_the_queries(
    kind: PositionKind, own: type[Positions], query_side: type[Positions]
) -> None:
    assert position_class(kind) is own
    assert type(make_positions(kind, d_model=16, **SIZES)) is own
    assert type(make_query_positions(kind, **SIZES)) is query_side


def test_sizes_of_the_relative_encoding() -> None:
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in make_positions("relative", d_model=16, **SIZES).named_parameters()
    }

    assert shapes == {
        "content_bias_HK": (3, 4),
        "position_bias_HK": (3, 4),
        "position.weight": (12, 16),
    }


def test_an_unknown_name() -> None:
    kind: Any = "absolute"
    with pytest.raises(
        InputError, match=r"^encoder\.positions='absolute': allowed: relative, rotary, none$"
    ):
        position_class(kind)


@pytest.mark.parametrize(
    ("kind", "grouped", "pooled"),
    [
        ("relative", GroupedRelativePositions, PooledRelativePositions),
        ("rotary", GroupedRotaryPositions, PooledRotaryPositions),
        ("none", Positions, Positions),
    ],
)
def test_a_name_gives_the_encoding_of_groups_and_of_pools(
    kind: PositionKind, grouped: type[Positions], pooled: type[Positions]
) -> None:
    of_groups = make_grouped_positions(kind, d_model=16, frames_per_group=5, **SIZES)
    of_pools = make_pooled_positions(kind, d_model=16, pool_size=5, **SIZES)

    assert type(of_groups) is grouped
    assert type(of_pools) is pooled
    if kind == "relative":
        assert of_groups.get_parameter("position.weight").shape == (60, 16)
        assert of_pools.get_parameter("position.weight").shape == (12, 16)
