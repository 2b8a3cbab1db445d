from hypothesis import given
from hypothesis import strategies as st

from asr.report.html.trade_off import pareto_front

POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 5.0), (2.0, 3.0), (4.0, 4.0), (5.0, 1.0)]
    assert pareto_front(points) == [(1.0, 5.0), (2.0, 3.0), (5.0, 1.0)]


@given(POINTS)
def test_a_point_is_on_the_front_or_beaten(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    for x, y in points:
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in front) != beaten
