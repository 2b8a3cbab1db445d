from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from asr.nn.relative import WAVELENGTH_BASE
from asr.nn.rotary import RotaryPositions, rotate

T, K = 9, 6


def table(num_frames: int = T, head_dim: int = K) -> Tensor:
    made = RotaryPositions.table(num_frames, 2 * head_dim, 2, torch.zeros(1))
    assert made is not None
    return made


def test_each_pair_turns_by_time_over_wavelength() -> None:
    x_BHTK = torch.randn(1, 2, T, K)
    pairs = torch.view_as_complex(
        torch.stack([x_BHTK[..., : K // 2], x_BHTK[..., K // 2 :]], -1).contiguous()
    )
    turned = torch.empty_like(pairs)
    for time in range(T):
        for pair in range(K // 2):
            angle = time / WAVELENGTH_BASE ** (2 * pair / K)
            turned[:, :, time, pair] = pairs[:, :, time, pair] * complex(
                math.cos(angle), math.sin(angle)
            )

    rotated_BHTK = rotate(x_BHTK, table())

    torch.testing.assert_close(rotated_BHTK, torch.cat([turned.real, turned.imag], -1))


def test_rotation_preserves_the_norm() -> None:
    x_BHTK = torch.randn(2, 2, 200, K)

    torch.testing.assert_close(rotate(x_BHTK, table(200)).norm(dim=-1), x_BHTK.norm(dim=-1))


def test_the_first_frame_stays() -> None:
    x_BHTK = torch.randn(1, 1, 1, K)

    assert torch.equal(rotate(x_BHTK, table(1)), x_BHTK)


def test_scores_depend_on_the_distance_only() -> None:
    q_K, k_K = torch.randn(K), torch.randn(K)

    module = RotaryPositions()
    keys = module.keys(k_K.expand(1, 1, T, K), table())
    scores_TT = module.scores(q_K.expand(1, 1, T, K), keys)[0, 0]

    for distance in range(-T + 1, T):
        diagonal = scores_TT.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert scores_TT[0, 1] != pytest.approx(float(scores_TT[1, 0])), "forward is not backward"
    assert scores_TT[0, 0] == pytest.approx(float(q_K @ k_K) / K**0.5, rel=1e-5)


def test_queries_turn_as_far_as_the_keys_that_another_layer_made() -> None:
    q_BHTK, k_BHTK = torch.randn(2, 1, 2, T, K)
    keys = RotaryPositions().keys(k_BHTK, table())

    assert torch.equal(keys.k_BHTK, rotate(k_BHTK, table()))
    assert torch.equal(RotaryPositions().queries(q_BHTK, keys), rotate(q_BHTK, table()))


def test_a_longer_table_begins_with_the_shorter() -> None:
    assert torch.equal(table(20)[:, :T], table(T))


def test_no_parameters() -> None:
    assert not list(RotaryPositions().parameters())


def test_table_has_the_precision_asked_for_but_exact_angles() -> None:
    made = RotaryPositions.table(3000, 2 * K, 2, torch.zeros(1, dtype=torch.bfloat16))

    assert made is not None
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, table(3000).bfloat16())
