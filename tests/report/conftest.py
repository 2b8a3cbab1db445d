"""Made-up analyses of four layers with two heads."""

from __future__ import annotations

import pytest

from asr.report.analysis import (
    Analysis,
    Counted,
    DiagonalityFound,
    Groups,
    Probe,
    Relationship,
    Similarity,
    Suggested,
    Tried,
)
from asr.report.record import ScheduledLayer

NUM_LAYERS = 4
ALIKE = [  # layers 0 and 1, and 2 and 3, share their maps
    [1.0, 1.0, 0.4, 0.4],
    [1.0, 1.0, 0.4, 0.4],
    [0.4, 0.4, 1.0, 1.0],
    [0.4, 0.4, 1.0, 1.0],
]


def groups(sizes: list[int], risk: float, added_loss: float | None = None) -> Groups:
    return Groups(groups=sizes, risk=risk, latency_ms=None, added_loss=added_loss)


@pytest.fixture
def analysis() -> Analysis:
    """A model in two groups of two layers."""
    pairs = groups([2, 2], 0.0)
    return Analysis(
        run="tiny",
        reuse="probs",
        schedule=[
            ScheduledLayer(layer=layer, role="follow", leader=layer - 1)
            if layer % 2
            else ScheduledLayer(layer=layer, role="lead")
            for layer in range(NUM_LAYERS)
        ],
        counted=Counted(
            data="test", num_utterances=7, num_skipped=0, num_left_out=0, num_aligned=7
        ),
        frame_shift_s=0.04,
        num_heads=2,
        map_layers=list(range(NUM_LAYERS)),
        similarity=Similarity(
            total_variation=ALIKE,
            best_match=[[[value, value] for value in row] for row in ALIKE],
            total_variation_heads=[[[[value] * 2 for value in row]] * 2 for row in ALIKE],
            jensen_shannon=ALIKE,
        ),
        diagonality=DiagonalityFound(
            area=[[0.70, 0.72], [0.70, 0.72], [0.68, 0.69], [0.68, 0.69]],
            curve=[[[0.2, 0.6, 1.0], [0.3, 0.7, 1.0]]] * NUM_LAYERS,
            range=[0.0, 0.5, 1.0],
        ),
        relationship=Relationship(
            tokens=["a", "b", "c"],
            layers=[[[1.0, 0.5, 2.0], [0.1, float("nan"), 1.0], [1.0, 1.1, 0.9]]] * NUM_LAYERS,
            same=[[1.0, 1.2]] * NUM_LAYERS,
            other=[[0.9, 1.0]] * NUM_LAYERS,
        ),
        probe=Probe(
            accuracy=[30.0, 40.0, 55.0, 60.0], chance=20.0, num_train_frames=900, num_test_frames=90
        ),
        suggested=Suggested(
            threshold=0.8,
            length_s=None,
            budget_ms=None,
            greedy=pairs,
            best=[groups([4], 1.8), pairs],
            proposed=pairs,
        ),
    )


@pytest.fixture
def tried(analysis: Analysis) -> Analysis:
    """A model without reuse, and what conversion to shared maps does to it."""
    whole = groups([4], 1.8, 0.25)
    return Analysis(
        run="full",
        reuse="none",
        schedule=[ScheduledLayer(layer=layer, role="alone") for layer in range(NUM_LAYERS)],
        counted=analysis.counted,
        frame_shift_s=0.04,
        num_heads=2,
        map_layers=list(range(NUM_LAYERS)),
        similarity=analysis.similarity,
        diagonality=analysis.diagonality,
        relationship=None,
        probe=None,
        suggested=Suggested(
            threshold=0.0,
            length_s=None,
            budget_ms=None,
            greedy=whole,
            best=[whole],
            proposed=whole,
        ),
        tried=Tried(
            method="probs",
            reuse={"groups": [4]},
            num_utterances=7,
            full_loss=2.5,
            loss=[
                [2.5 + 0.1 * (follower - leader) if follower > leader else None
                 for follower in range(NUM_LAYERS)]
                for leader in range(NUM_LAYERS)
            ],
            best=[whole],
            limit=whole,
            proposed=whole,
        ),
    )  # fmt: skip
