"""Our three-step attention against ``nn.MultiheadAttention``."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asr.nn.frames import Frames, padding_mask
from asr.reuse.base import AttentionParts
from asr.reuse.none import AloneAttention, NoReuse
from asr.reuse.schedule import LayerRole, Role
from tests.encoder.tiny import randomise

D, H = 16, 4


def copy_attention(ours: AloneAttention, theirs: nn.MultiheadAttention) -> None:
    """Their packed weights from our four projections."""
    inputs = [ours.scores.query, ours.scores.key, ours.mix.value]
    with torch.no_grad():
        assert theirs.in_proj_weight is not None
        theirs.in_proj_weight.copy_(torch.cat([module.weight for module in inputs]))
        theirs.in_proj_bias.copy_(torch.cat([module.bias for module in inputs]))
    theirs.out_proj.load_state_dict(ours.mix.output.state_dict())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("lengths", [[7, 7], [7, 2]], ids=str)
def test_multihead_attention(fused: bool, lengths: list[int]) -> None:
    parts = AttentionParts(d_model=D, num_heads=H, positions="none", dropout=0.0)
    ours = NoReuse(fused=fused).attention(LayerRole(0, Role.ALONE), parts).eval()
    assert isinstance(ours, AloneAttention)
    randomise(ours)
    theirs = nn.MultiheadAttention(D, H, batch_first=True).eval()
    copy_attention(ours, theirs)
    x_BTD = torch.randn(2, 7, D)
    mask = padding_mask(torch.tensor(lengths), 7)

    expected_BTD, expected_map = theirs(
        x_BTD, x_BTD, x_BTD, key_padding_mask=mask, average_attn_weights=False
    )
    found_BTD, _ = ours(x_BTD, Frames(mask), None)

    torch.testing.assert_close(found_BTD, expected_BTD, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.scores(x_BTD, Frames(mask)), expected_map)
