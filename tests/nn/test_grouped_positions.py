from __future__ import annotations

import pytest
import torch

from asr.nn.relative import RelativePositions
from asr.nn.rotary import RotaryPositions
from asr.nn.span_positions import GroupedRelativePositions, GroupedRotaryPositions, sinusoids
from tests.encoder.tiny import randomise

H, K = 2, 4
D = H * K

each_size = pytest.mark.parametrize("size", [2, 3, 4])
each_length = pytest.mark.parametrize("num_frames", [1, 2, 5, 8, 9])


@each_size
@each_length
def test_relative_positions_are_the_distances_of_first_frames(size: int, num_frames: int) -> None:
    module = GroupedRelativePositions(
        d_model=D, num_heads=H, head_dim=size * K, frames_per_group=size
    )
    randomise(module)
    num_groups = -(-num_frames // size)
    k_BHGK = torch.randn(2, H, num_groups, size * K)

    keys = module.keys(k_BHGK, RelativePositions.table(num_frames, D, H, k_BHGK))

    assert keys.positions is not None
    assert keys.positions.shape == (H, size * K, 2 * num_groups - 1)
    for column, groups in enumerate(range(num_groups - 1, -num_groups, -1)):
        r_D = sinusoids(range(groups * size, groups * size + 1), D, k_BHGK)[0]
        projected_HK = module.position(r_D).view(H, -1)
        torch.testing.assert_close(keys.positions[..., column], projected_HK, atol=1e-5, rtol=1e-5)


@each_size
@each_length
def test_rotary_positions_turn_the_wide_heads_and_count_groups(size: int, num_frames: int) -> None:
    num_groups = -(-num_frames // size)
    q_BHGK, k_BHGK = torch.randn(2, 2, H, num_groups, size * K)
    module, plain = GroupedRotaryPositions(), RotaryPositions()

    keys = module.keys(k_BHGK, RotaryPositions.table(num_frames, D, H, k_BHGK))

    wide = plain.keys(k_BHGK, RotaryPositions.table(num_groups, size * D, H, k_BHGK))
    torch.testing.assert_close(keys.k_BHTK, wide.k_BHTK)
    torch.testing.assert_close(module.queries(q_BHGK, keys), plain.queries(q_BHGK, wide))
