"""The results of an analysis, as plain numbers.

Shape legend: L layers, H heads, R points of a curve, C token classes. Layers without an attention
map, or with fewer heads than others, are excluded from measures of maps: there L counts only
``map_layers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from asr.report.record import ScheduledLayer

Vector: TypeAlias = list[float]
Matrix: TypeAlias = list[list[float]]
Cube: TypeAlias = list[list[list[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The data behind the numbers; left-out utterances are too long, unaligned ones too short."""

    data: str
    num_utterances: int
    num_skipped: int
    num_left_out: int
    num_aligned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Similarity of layers, from 0 to 1, as means over utterances.

    ``total_variation`` (L, L) compares heads of the same index, ``best_match`` (L, L, H) each head
    of the first layer with the best of the second, ``total_variation_heads`` (L, H, L, H) every
    pair of heads. ``jensen_shannon`` (L, L) compares heads of the same index.
    """

    total_variation: Matrix
    best_match: Cube
    total_variation_heads: list[Cube]
    jensen_shannon: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagonalityFound:
    """CAD (L, H), and the curves (L, H, R) over ``range`` (R), a fraction of the utterance."""

    area: Matrix
    curve: Cube
    range: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """Attention between ``tokens`` (C), in multiples of uniform attention.

    ``layers`` (L, C, C) is the mean over heads; ``same`` and ``other`` (L, H) are attention to the
    same token elsewhere and to other tokens.
    """

    tokens: list[str]
    layers: Cube
    same: Matrix
    other: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Accuracy in percent (L, all layers) on frames of utterances not used in training.

    ``chance`` is the accuracy of always predicting the most frequent token.
    """

    accuracy: Vector
    chance: float
    num_train_frames: int
    num_test_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """A schedule to try: ``reuse.groups``, its risk, and its predicted encoder latency.

    For the risk see `asr.reuse.suggest`; the latency is None if no encoder was timed.
    ``added_loss`` is the loss that converting the model to it adds, None if untried.
    """

    groups: list[int]
    risk: float
    latency_ms: float | None
    added_loss: float | None = None

    @property
    def shares(self) -> bool:
        """Whether any layer reuses the attention of another."""
        return max(self.groups) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """The ``greedy`` schedule for ``threshold``, and the ``best`` ones, cheapest first.

    No other schedule beats one of ``best`` in both risk and cost. All come from the Jensen-Shannon
    similarity of heads of the same index. The cost is the latency at ``length_s`` seconds of audio
    or, if that is None, the number of maps computed. ``proposed`` is the one with the least risk
    within ``budget_ms`` or, without a budget, the greedy one.
    """

    threshold: float
    length_s: float | None
    budget_ms: float | None
    greedy: Groups
    best: list[Groups]
    proposed: Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The loss after conversion to the reuse ``method``, without training.

    Losses are means of CTC over ``num_utterances``, in nats per utterance: ``full_loss`` for the
    unconverted model, ``loss`` (L, L) for the model in which only one layer (column) follows
    another (row), None for impossible pairs. The risk of the schedules in ``best`` is the sum of
    the losses that their pairs add; none of them beats another in both risk and cost, cheapest
    first. ``proposed`` has the least risk within the budget. Without a budget it has the least risk
    among those that cost no more than ``limit``: the proposal from similarity, or groups of two if
    that shares nothing. ``reuse`` is the config of the proposal.
    """

    method: str
    reuse: dict[str, Any]
    num_utterances: int
    full_loss: float
    loss: list[list[float | None]]
    best: list[Groups]
    limit: Groups
    proposed: Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The analysis of one model on one manifest; parts are None if they could not be measured."""

    run: str
    reuse: str
    schedule: list[ScheduledLayer]
    counted: Counted
    frame_shift_s: float
    num_heads: int
    map_layers: list[int]
    similarity: Similarity
    diagonality: DiagonalityFound
    relationship: Relationship | None
    probe: Probe | None
    suggested: Suggested | None
    tried: Tried | None = None
