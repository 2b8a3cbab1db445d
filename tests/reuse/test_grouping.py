from __future__ import annotations

from typing import Any

import pytest

from asr.errors import InputError
from asr.reuse.grouping import Grouping
from asr.reuse.schedule import schedule_from_leaders

LFLF = schedule_from_leaders([0, 0, 2, 2], 4)


@pytest.mark.parametrize(
    "way", [{"groups": [2, 2]}, {"group_size": 2}, {"pattern": "LF"}, {"leaders": [0, 0, 2, 2]}]
)
def test_four_ways_to_one_schedule(way: dict[str, Any]) -> None:
    assert Grouping(**way).schedule(4) == LFLF


@pytest.mark.parametrize(
    ("ways", "given"),
    [
        ({}, "none"),
        ({"groups": [2, 2], "group_size": 2}, "groups, group_size"),
        ({"pattern": "LF", "leaders": [0, 0, 2, 2]}, "pattern, leaders"),
        (
            {"groups": [4], "group_size": 4, "pattern": "LFFF", "leaders": [0] * 4},
            "groups, group_size, pattern, leaders",
        ),
    ],
)
def test_exactly_one_way_is_needed(ways: dict[str, Any], given: str) -> None:
    with pytest.raises(
        InputError, match=f"exactly one of groups, group_size, pattern, leaders; given: {given} "
    ):
        Grouping(**ways).schedule(4)


@pytest.mark.parametrize("way", [{"group_size": 0}, {"groups": []}, {"pattern": ""}])
def test_an_empty_value_counts_as_given(way: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"reuse\.{next(iter(way))}="):
        Grouping(**way).schedule(4)
