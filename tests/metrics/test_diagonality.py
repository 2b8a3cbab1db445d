from __future__ import annotations

import math

import pytest
import torch

from asr.metrics.attention import diagonality

from .maps import NUM_FRAMES, NUM_HEADS, NUM_LAYERS, diagonal_maps, random_maps, uniform_maps


def test_as_a_loop() -> None:
    probs = random_maps()
    area, curve = diagonality(probs, num_points=NUM_FRAMES)
    for layer in range(NUM_LAYERS):
        for head in range(NUM_HEADS):
            within = [
                sum(
                    float(probs[layer, head, i, j])
                    for i in range(NUM_FRAMES)
                    for j in range(NUM_FRAMES)
                    if abs(i - j) <= r
                )
                / NUM_FRAMES
                for r in range(NUM_FRAMES)
            ]
            assert curve[layer, head].tolist() == pytest.approx(within, abs=1e-5)
            assert math.isclose(area[layer, head], sum(within) / NUM_FRAMES, abs_tol=1e-5)


@pytest.mark.parametrize("num_frames", [1, 2, 30])
def test_a_diagonal_map_has_1(num_frames: int) -> None:
    area, curve = diagonality(diagonal_maps(num_frames), num_points=5)
    assert torch.allclose(area, torch.ones(1, 1))
    assert torch.allclose(curve, torch.ones(1, 1, 5))


@pytest.mark.parametrize("num_frames", [1, 2, 30])
def test_a_uniform_map_has_the_closed_form(num_frames: int) -> None:
    area, _ = diagonality(uniform_maps(num_frames), num_points=5)
    assert math.isclose(area, 2 / 3 + 1 / (3 * num_frames**2), abs_tol=1e-5)


def test_a_map_that_looks_far_has_less_than_a_uniform_one() -> None:
    area, curve = diagonality(diagonal_maps(20).flip(-1), num_points=20)
    assert area < 2 / 3
    # Rows look at T - 1 - i, so the distance is |T - 1 - 2 i|: even or odd, evenly spread.
    assert curve[0, 0, 0] == 0
    assert torch.allclose(curve[0, 0, 1::2], torch.arange(1, 11) / 10)


def test_the_curve_ends_at_all_of_the_mass_whatever_the_length() -> None:
    for num_frames in (3, 50):
        _, curve = diagonality(random_maps(num_frames), num_points=11)
        assert curve.shape == (NUM_LAYERS, NUM_HEADS, 11)
        assert torch.allclose(curve[..., -1], torch.ones(NUM_LAYERS, NUM_HEADS), atol=1e-5)
        assert (curve.diff(dim=-1) >= 0).all()
