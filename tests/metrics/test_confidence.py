from __future__ import annotations

import math

import numpy as np
import pytest

from asr.metrics.confidence import calibration


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
