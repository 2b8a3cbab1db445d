"""What is computed differently in an exported graph comes to the same."""

from __future__ import annotations

import pytest
import torch

from asr.nn.positions import PositionKind
from tests.encoder.tiny import POSITIONS, random_features
from tests.pairwise import pairwise

from .cases import CASES, Case


@pairwise(case=CASES, positions=POSITIONS)
def test_the_branches_of_an_exported_graph_compute_the_same(
    case: Case, positions: PositionKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = case.encoder(positions=positions)
    batches = [random_features(lengths) for lengths in ([1], [61, 40, 3], [600])]
    with torch.no_grad():
        expected = [encoder(*batch) for batch in batches]
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        found = [encoder(*batch) for batch in batches]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.lengths_B, other.lengths_B)
        for row, length in enumerate(one.lengths_B.tolist()):
            torch.testing.assert_close(
                one.frames_BTD[row, :length], other.frames_BTD[row, :length], rtol=1e-5, atol=2e-5
            )
