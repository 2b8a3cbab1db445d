from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.report.html.label import Box, place_beside, shortened, spread, text_width

AREA = Box(0, 0, 300, 200)


@given(st.lists(st.floats(-50, 400), min_size=1, max_size=14))
def test_spread_labels_keep_their_distance_and_order(wanted: list[float]) -> None:
    placed = spread(wanted, 15, 0, 300)
    assert all(0 <= position <= 300 for position in placed)
    ordered = [position for _, position in sorted(zip(wanted, placed, strict=True))]
    assert all(b - a >= 15 - 1e-9 for a, b in pairwise(ordered))


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([100, 20, 60], 15, 0, 300) == [100, 20, 60]


def test_too_many_labels_go_on_beyond_the_end() -> None:
    assert spread([5.0, 5.0, 5.0], 15, 0, 20) == [0, 15, 30]


@pytest.mark.parametrize("text", ["short", "a" * 100, "模型" * 40])
def test_shortened_text_fits(text: str) -> None:
    assert text_width(shortened(text, 120)) <= 120
    assert shortened(text, 10_000) == text


def test_both_ends_of_a_long_name_stay() -> None:
    name = shortened("probs-" + "x" * 80 + "-seed2", 120)
    assert name.startswith("probs-")
    assert name.endswith("-seed2")


def test_labels_beside_one_point_do_not_meet() -> None:
    taken: list[Box] = []
    while (place := place_beside(150, 100, "name", taken, AREA)) is not None:
        assert AREA.holds(place[2])
        assert not any(place[2].meets(other) for other in taken)
        taken.append(place[2])
    assert 6 <= len(taken) <= 12
