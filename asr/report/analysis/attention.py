"""Every measure on attention maps, gathered one utterance at a time.

Shape legend: L layers, H heads, T frames, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr.metrics.attention.diagonality import diagonality
from asr.metrics.attention.relationship import NO_CLASS, same_and_other, token_relationship
from asr.metrics.attention.similarity import (
    best_match,
    jensen_shannon_similarity,
    same_head,
    total_variation_similarity,
)
from asr.metrics.streaming_mean import StreamingMean
from asr.report.analysis.result import DiagonalityFound, Relationship, Similarity
from asr.report.analysis.tokens import TokenClasses

NUM_POINTS = 51
DECIMALS = 5


class AttentionMeasures:
    """Means over utterances; what is kept does not grow with their number."""

    def __init__(self, tokens: TokenClasses) -> None:
        self.tokens = tokens
        self._total_variation_LHLH = StreamingMean()
        self._jensen_shannon_LLH = StreamingMean()
        self._area_LH = StreamingMean()
        self._curve_LHR = StreamingMean()
        self._relationship_LHCC = StreamingMean()

    def add(self, probs_LHTT: Tensor, class_T: Tensor) -> None:
        """The maps of one utterance without padding, and the class of each frame."""
        self._total_variation_LHLH.add(total_variation_similarity(probs_LHTT))
        self._jensen_shannon_LLH.add(jensen_shannon_similarity(probs_LHTT))
        found = diagonality(probs_LHTT, num_points=NUM_POINTS)
        self._area_LH.add(found.area_LH)
        self._curve_LHR.add(found.curve_LHR)
        if bool((class_T != NO_CLASS).any()):
            sums = token_relationship(
                probs_LHTT, class_T.to(probs_LHTT.device), num_classes=len(self.tokens)
            )
            self._relationship_LHCC.add(sums.total_LHCC, sums.num_frames_CC)

    def similarity_of_layers(self) -> Tensor:
        """Jensen-Shannon similarity (L, L), by heads of one index."""
        return self._jensen_shannon_LLH.mean.mean(-1)

    def similarity_of_heads(self) -> Tensor:
        """Total variation similarity (L, H, L, H) of all heads."""
        return self._total_variation_LHLH.mean

    def similarity(self) -> Similarity:
        """How alike layers are."""
        heads_LHLH = self.similarity_of_heads()
        return Similarity(
            total_variation=rounded(same_head(heads_LHLH).mean(-1)),
            best_match=rounded(best_match(heads_LHLH)),
            total_variation_heads=rounded(heads_LHLH),
            jensen_shannon=rounded(self.similarity_of_layers()),
        )

    def diagonality(self) -> DiagonalityFound:
        """How close to the diagonal each head keeps."""
        return DiagonalityFound(
            area=rounded(self._area_LH.mean),
            curve=rounded(self._curve_LHR.mean),
            range=rounded(torch.linspace(0, 1, NUM_POINTS)),
        )

    def relationship(self) -> Relationship | None:
        """Which tokens look at which; None when nothing could be aligned."""
        if self._relationship_LHCC.is_empty:
            return None
        mean_LHCC = self._relationship_LHCC.mean
        same_LH, other_LH = same_and_other(mean_LHCC, self._relationship_LHCC.count)
        return Relationship(
            tokens=list(self.tokens.pieces),
            layers=rounded(mean_LHCC.mean(1)),
            same=rounded(same_LH),
            other=rounded(other_LH),
        )


def rounded(values: Tensor) -> list:  # type: ignore[type-arg]  # nested as deep as the tensor
    """Nested lists with few enough digits to be read."""
    return [
        rounded(value) if value.dim() else round(float(value), DECIMALS)
        for value in values.double()
    ]
