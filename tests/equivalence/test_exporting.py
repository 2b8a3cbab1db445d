"""What is computed differently in an exported graph comes to the same."""

from __future__ import annotations

import pytest

from asr.nn.positions import PositionKind
from tests.encoder.tiny import POSITIONS, random_features
from tests.pairwise import pairwise

from .cases import CASES, Case
from .checks import assert_exported_branches_compute_the_same


@pairwise(case=CASES, positions=POSITIONS)
def test_the_branches_of_an_exported_graph_compute_the_same(
    case: Case, positions: PositionKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [random_features(lengths) for lengths in ([1], [61, 40, 3], [600])]
    assert_exported_branches_compute_the_same(
        case.encoder(positions=positions), batches, monkeypatch
    )
