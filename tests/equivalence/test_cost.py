"""What reuse is for: fewer parameters and fewer multiply-adds, layer by layer as predicted."""

from __future__ import annotations

import pytest
import torch

from asr.nn.positions import PositionKind
from asr.profiling.cost import count_parameters, multiply_adds
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from tests.encoder.tiny import (
    D_MODEL,
    KINDS,
    POSITIONS,
    EncoderKind,
    random_features,
    tiny_encoder,
)
from tests.equivalence.cases import CASES, Case, each_case
from tests.pairwise import pairwise

NUM_FOLLOWERS = 6  # of eight layers in groups of four

each_kind = pytest.mark.parametrize("kind", KINDS)
each_position = pytest.mark.parametrize("positions", POSITIONS)


def scores_parameters(positions: PositionKind) -> int:
    query_and_key = 2 * (D_MODEL * D_MODEL + D_MODEL)
    return query_and_key + (D_MODEL * D_MODEL + 2 * D_MODEL if positions == "relative" else 0)


@pairwise(kind=KINDS, positions=POSITIONS)
def test_parameters_saved(kind: EncoderKind, positions: PositionKind) -> None:
    none = tiny_encoder(kind, reuse=NoReuse(), positions=positions, num_layers=8)
    probs = tiny_encoder(kind, reuse=ReuseProbs(group_size=4), positions=positions, num_layers=8)
    saved = sum(count_parameters(none).values()) - sum(count_parameters(probs).values())

    assert saved == NUM_FOLLOWERS * scores_parameters(positions)
    assert saved == sum(row.parameters_saved for row in probs.schedule_rows())


@pairwise(case=CASES, positions=POSITIONS)
def test_rows_add_up_to_all_that_is_saved(positions: PositionKind, case: Case) -> None:
    none = tiny_encoder("transformer", positions=positions, num_heads=case.num_heads)
    encoder = case.encoder("transformer", positions=positions)
    saved = sum(count_parameters(none).values()) - sum(count_parameters(encoder).values())

    assert saved == sum(row.parameters_saved for row in encoder.schedule_rows())


@pairwise(kind=KINDS, positions=POSITIONS, fused=[True, False])
def test_multiply_adds_saved(kind: EncoderKind, positions: PositionKind, fused: bool) -> None:
    features_BTF, lengths_B = random_features([160])
    num_frames = 40

    def cost(reuse: NoReuse | ReuseProbs) -> int:
        encoder = tiny_encoder(kind, reuse=reuse, positions=positions, num_layers=8)
        return multiply_adds(encoder, features_BTF, lengths_B)

    saved = cost(NoReuse(fused=fused)) - cost(ReuseProbs(group_size=4))

    project = 2 * num_frames * D_MODEL * D_MODEL
    score = num_frames * num_frames * D_MODEL
    if positions == "relative":
        distances = 2 * num_frames - 1
        project += distances * D_MODEL * D_MODEL
        score += num_frames * distances * D_MODEL
    assert saved == NUM_FOLLOWERS * (project + score)


@each_case
def test_cost_can_be_counted_without_memory(case: Case) -> None:
    """Models too large for this machine are priced on the meta device."""
    features_BTF, lengths_B = random_features([160])
    encoder = case.encoder()
    real = multiply_adds(encoder, features_BTF, lengths_B)

    with torch.device("meta"):
        assert multiply_adds(encoder.to("meta"), features_BTF.to("meta"), lengths_B) == real
