"""Every method, encoder and position encoding against the naive loops of `reference`."""

from __future__ import annotations

import pytest
import torch

from asr.nn import positions as tiling
from asr.nn.positions import PositionKind
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind, random_features
from tests.equivalence.cases import CASES, Case
from tests.equivalence.reference import encode_alone
from tests.pairwise import pairwise

LENGTHS = [19, 3, 12]  # 5, 1 and 3 encoder frames


@pairwise(case=CASES, positions=POSITIONS, kind=KINDS)
def test_padded_batch_equals_the_loops(
    monkeypatch: pytest.MonkeyPatch, kind: EncoderKind, positions: PositionKind, case: Case
) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 2)
    encoder = case.encoder(kind, positions=positions)
    features_BTF, lengths_B = random_features(LENGTHS)

    with torch.no_grad():
        output = encoder(features_BTF, lengths_B)
        expected = [
            encode_alone(encoder, features_BTF[row, :length], case.leaders)
            for row, length in enumerate(LENGTHS)
        ]

    assert output.lengths_B.tolist() == [len(frames_TD) for frames_TD in expected]
    for row, frames_TD in enumerate(expected):
        torch.testing.assert_close(
            output.frames_BTD[row, : len(frames_TD)], frames_TD, atol=2e-5, rtol=1e-4
        )
