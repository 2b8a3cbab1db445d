import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.report.html.scale import Scale, fitted, from_zero

VALUES = st.lists(st.floats(0, 1e7, allow_subnormal=False), min_size=1, max_size=20)


@given(VALUES)
def test_a_fitted_scale_holds_all_values_and_a_few_ticks(values: list[float]) -> None:
    values = [round(value, 3) for value in values]
    scale = fitted(values, 0, 500)
    assert all(-1e-6 <= scale(value) <= 500 + 1e-6 for value in values)
    assert 2 <= len(scale.ticks()) <= 20
    assert all(-1e-6 <= scale(tick) <= 500 + 1e-6 for tick in scale.ticks())


def test_values_far_apart_get_a_logarithmic_scale() -> None:
    scale = fitted([5, 60, 300], 0, 100)
    assert scale.log
    assert scale(150) - scale(15) == pytest.approx(scale(100) - scale(10))
    assert scale.ticks() == [5, 10, 20, 50, 100, 200]
    assert not fitted([5, 8], 0, 100).log
    assert not fitted([0, 8], 0, 100).log


def test_ticks_are_round() -> None:
    assert Scale(0.8, 3.1, 0, 100).ticks() == [1, 1.5, 2, 2.5, 3]
    assert Scale(-1.2, 2.4, 0, 100).ticks() == [-1, 0, 1, 2]
    assert from_zero(518e6, 0, 100).ticks() == [0, 2e8, 4e8]


def test_rates_and_times_do_not_fall_below_zero() -> None:
    assert fitted([0.1, 0.5], 0, 100).low == pytest.approx(0.072)
    assert fitted([0.0, 0.5], 0, 100).low == 0
    assert fitted([-1.0, 0.5], 0, 100).low < -1
