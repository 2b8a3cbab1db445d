"""What torch's own instruments see of the kernels."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from asr.encoder.parts import ENCODER_PARTS
from asr.profiling.attention_steps import FUSED, MIX
from asr.profiling.breakdown import Call, time_by_part
from tests.encoder.tiny import random_features
from tests.equivalence.cases import CASES

pytest.importorskip("triton")
B, H, T, K, V = 2, 3, 50, 8, 16


@pytest.mark.parametrize(("reach", "num_seen"), [(None, T), (4, 9), (100, T)])
def test_relative_attention(reach: int | None, num_seen: int) -> None:
    from asr.nn.kernels.relative_attention import relative_attention

    with torch.device("meta"):
        x_BHTK, v_BHTV = torch.empty(B, H, T, K), torch.empty(B, T, H, V).transpose(1, 2)
        r_HKP, bias_HK = torch.empty(H, K, 2 * T - 1), torch.empty(H, K)
        with FlopCounterMode(display=False) as counter:
            context = relative_attention(
                x_BHTK, x_BHTK, v_BHTV, r_HKP, bias_HK, bias_HK, None, reach
            )

    assert context.shape == (B, T, H, V)
    assert context.is_contiguous()
    assert counter.get_total_flops() == 2 * B * H * T * num_seen * (K + K + V)


def test_mix_values() -> None:
    from asr.nn.kernels.mix import mix_values

    probs_BHTT = torch.empty(B, H, T, T, device="meta", dtype=torch.bfloat16)
    v_BTD = torch.empty(B, T, H * K, device="meta")
    with FlopCounterMode(display=False) as counter:
        context = mix_values(probs_BHTT, v_BTD)

    assert (context.shape, context.dtype) == (v_BTD.shape, torch.float32)
    assert counter.get_total_flops() == 2 * B * H * T * T * K


def test_time_by_part_sees_both(device: torch.device) -> None:
    encoder = CASES["probs-between"].encoder().to(device, torch.bfloat16)
    features_BTF, lengths_B = random_features([40])
    call = Call(encoder, (features_BTF.to(device), lengths_B.to(device)))
    parts = time_by_part({"x": call}, ENCODER_PARTS, repeats=1, device=device)["x"]
    assert parts[FUSED] > 0
    assert parts[MIX] > 0
