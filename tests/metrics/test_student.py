import pytest

from asr.metrics.student import quantile, two_sided_p


@pytest.mark.parametrize(
    ("level", "df", "expected"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.30265),
        (0.95, 4, 2.77645),
        (0.95, 9, 2.26216),
        (0.99, 30, 2.75000),
        (0.95, 1e9, 1.95996),
    ],
)
def test_quantiles_are_those_of_the_tables(level: float, df: float, expected: float) -> None:
    assert quantile(level, df) == pytest.approx(expected, rel=2e-4)
    assert two_sided_p(quantile(level, df), df) == pytest.approx(1 - level, rel=1e-6)


def test_tails_known_in_closed_form() -> None:
    """With 2 degrees of freedom p = 1 - t / sqrt(2 + t^2); with 1 it is the Cauchy distribution."""
    for t in (0.0, 0.5, -3.0, 40.0):
        expected = 1 - abs(t) / (2 + t**2) ** 0.5
        assert two_sided_p(t, 2) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert two_sided_p(1.0, 1) == pytest.approx(0.5)
