"""A map that is computed again where it may not be kept is the same map."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.encoder.maps import encode_with_maps
from asr.encoder.stack import Encoder
from asr.nn import positions as tiling
from asr.nn.attention import AttentionScores
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.profiling.memory import peak_memory_mib
from asr.reuse.probs import ReuseProbs
from tests.encoder.tiny import POSITIONS, random_features
from tests.equivalence.cases import CASES, Case
from tests.pairwise import pairwise

ROUNDED = Case(ReuseProbs(group_size=4, map_dtype="bfloat16"), [0, 0, 0, 0])
KEPT = {
    name: case
    for name, case in CASES.items()
    if name.split("-")[0] in ("probs", "heads", "scores", "within", "mixed")
} | {"none-explicit": CASES["none-explicit"], "probs-rounded": ROUNDED}

ONE_OF_A_KIND = (
    *("none-explicit", "probs-all", "probs-rounded", "heads-2"),
    *("scores-low-rank", "within-2", "mixed-reuse"),
)
each_position = pytest.mark.parametrize("positions", POSITIONS)
# None of 16 rows of a batch of three, some of them, nearly all; in tiles of three rows.
LIMITS = [0.0, 0.004, 0.012]


@pytest.fixture
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 3)


def limited(encoder: Encoder, max_map_mib: float | None) -> Encoder:
    for module in encoder.modules():
        if isinstance(module, AttentionScores):
            module.max_map_mib = max_map_mib
    return encoder


def assert_same(found: Any, expected: Any) -> None:
    for row, length in enumerate(expected.lengths_B):
        torch.testing.assert_close(
            found.frames_BTD[row, :length],
            expected.frames_BTD[row, :length],
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.usefixtures("_small_tiles")
@pairwise(case=KEPT, positions=POSITIONS, max_map_mib=LIMITS)
def test_outputs(case: Case, max_map_mib: float, positions: PositionKind) -> None:
    encoder = case.encoder(positions=positions)
    features_BTF, lengths_B = random_features([61, 3, 40])

    with torch.inference_mode():
        expected = limited(encoder, None)(features_BTF, lengths_B)
        found = limited(encoder, max_map_mib)(features_BTF, lengths_B)

    assert_same(found, expected)


@pytest.mark.usefixtures("_small_tiles")
@pairwise(case=KEPT, max_map_mib=LIMITS)
def test_maps_for_analysis(case: Case, max_map_mib: float) -> None:
    encoder = case.encoder()
    arguments = random_features([61])

    expected = encode_with_maps(limited(encoder, None), *arguments).maps
    found = encode_with_maps(limited(encoder, max_map_mib), *arguments).maps

    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_training_keeps_all() -> None:
    """What a gradient needs is kept anyway."""
    encoder = limited(KEPT["probs-all"].encoder(), 0.0).train()
    _, carry = encoder.layers[0](*_layer_input(encoder), None)

    assert carry.probs_BHTT.source is None
    assert carry.probs_BHTT.num_kept == 6


def _layer_input(encoder: Encoder) -> tuple[Tensor, Frames]:
    x_BTD = torch.randn(1, 6, encoder.d_model)
    table = encoder.positions.table(6, encoder.d_model, encoder.num_heads, x_BTD)
    return x_BTD, Frames(position_table=table)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_no_map_stands_whole(name: str) -> None:
    """Less than a map (B, H, T, T) is taken in all, where two stood besides other things."""
    num_frames = 3072  # at half of it what the heap wastes now and then counts as much as a map
    encoder = limited(KEPT[name].encoder("transformer", positions="none"), 1.0)
    features_BTF, lengths_B = random_features([4 * num_frames])
    map_mib = encoder.num_heads * num_frames**2 * 4 / 2**20

    with torch.inference_mode():
        peak_mib = peak_memory_mib(lambda: encoder(features_BTF, lengths_B))

    assert peak_mib is not None
    assert peak_mib < map_mib
