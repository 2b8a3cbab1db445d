from __future__ import annotations

import math

import numpy as np
import pytest

from asr.errors import InputError
from asr.metrics.confidence import calibration, fit_temperature, tempered


def test_by_hand() -> None:
    found = calibration([0.95, 0.95, 0.95, 0.95, 0.05], [True, True, True, False, False])
    assert found.error == pytest.approx((4 * (0.95 - 0.75) + 0.05) / 5)
    assert found.area == pytest.approx((3 * 0.5 + 3) / 6)
    assert found.wrong == pytest.approx(0.4)
    assert found.wrong_of_surest == pytest.approx(0.25)
    assert "5 words wrong, 25.0 % of the surest 90 %" in str(found)


def test_honest_confidences_have_no_error() -> None:
    numbers = np.random.default_rng(0)
    sure = numbers.uniform(size=20_000)
    found = calibration(sure.tolist(), (numbers.uniform(size=20_000) < sure).tolist())
    assert found.error < 0.02
    assert found.area == pytest.approx(5 / 6, abs=0.02)
    assert found.wrong_of_surest < found.wrong


def test_nothing_to_tell_apart() -> None:
    assert math.isnan(calibration([0.5], [True]).area)
    assert math.isnan(calibration([0.5, 0.1], [False, False]).area)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    numbers = np.random.default_rng(1)
    honest = numbers.uniform(0.01, 0.99, size=50_000)
    is_right = (numbers.uniform(size=len(honest)) < honest).tolist()
    written = [tempered(one, 1 / temperature) for one in honest.tolist()]
    found = fit_temperature(written, is_right)
    assert found == pytest.approx(temperature, rel=0.05)
    mended = [tempered(one, found) for one in written]
    before, after = calibration(written, is_right), calibration(mended, is_right)
    assert after.error < 0.02
    assert after.area == pytest.approx(before.area, abs=1e-4)  # near 0 and 1 they are cut
    if temperature != 1:
        assert before.error > 0.08


def test_tempered() -> None:
    assert tempered(0.73, 1.0) == 0.73
    assert tempered(0.5, 7.0) == pytest.approx(0.5)
    assert tempered(0.8, 2.0) == pytest.approx(2 / 3)  # odds of 4 become those of 2
    assert 0.9 < tempered(1.0, 4.0) < 1.0
    assert 0.0 < tempered(0.0, 4.0) < 0.1


@pytest.mark.parametrize(
    ("confidences", "is_right", "message"),
    [
        ([0.9, 0.8], [True, True], "2 of 2 words are right"),
        ([0.9, 0.8], [False, False], "0 of 2 words are right"),
        ([0.9, 0.2], [False, True], "no temperature from 0.01 to 100 fits"),
        ([0.9, 0.2], [True, False], "no temperature from 0.01 to 100 fits"),  # without an end
    ],
)
def test_no_temperature(confidences: list[float], is_right: list[bool], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_temperature(confidences, is_right)
