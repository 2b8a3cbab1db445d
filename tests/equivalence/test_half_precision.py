"""An encoder whose weights are in half precision computes in it, and nearly the same."""

from __future__ import annotations

import copy

import torch

from asr.nn.positions import PositionKind
from tests.encoder.tiny import POSITIONS, random_features
from tests.equivalence.cases import CASES, Case
from tests.pairwise import pairwise


@pairwise(case=CASES, positions=POSITIONS)
def test_bfloat16_is_near_float32(case: Case, positions: PositionKind) -> None:
    encoder = case.encoder(positions=positions)
    half = copy.deepcopy(encoder).bfloat16()
    features_BTF, lengths_B = random_features([57, 30])

    with torch.inference_mode():
        exact = encoder(features_BTF, lengths_B)
        near = half(features_BTF, lengths_B)

    assert near.frames_BTD.dtype == torch.bfloat16
    assert torch.equal(near.lengths_B, exact.lengths_B)
    for exact_TD, near_TD, length in zip(
        exact.frames_BTD, near.frames_BTD, exact.lengths_B, strict=True
    ):
        error_TD = near_TD[:length].float() - exact_TD[:length]
        assert 1e-5 < error_TD.norm() / exact_TD[:length].norm() < 0.1
