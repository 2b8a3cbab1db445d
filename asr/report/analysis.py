"""Everything an analysis found, as plain numbers.

Shape legend: L layers, H heads, R points of a curve, C token classes. Layers without an attention
map, or with fewer heads than others, have no part in what is measured on maps: there L counts
``map_layers`` only.
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
    """What the numbers rest on; utterances left out are too long, those not aligned too short."""

    data: str
    num_utterances: int
    num_skipped: int
    num_left_out: int
    num_aligned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Mean over utterances, 0 to 1.

    ``total_variation`` (L, L) compares heads of one index, ``best_match`` (L, L, H) each head of
    the first layer with the best of the second, ``total_variation_heads`` (L, H, L, H) all with
    all. ``jensen_shannon`` is (L, L), over heads of one index.
    """

    total_variation: Matrix
    best_match: Cube
    total_variation_heads: list[Cube]
    jensen_shannon: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagonalityFound:
    """CAD (L, H), and the curves (L, H, R) over ``range`` (R): a share of the utterance."""

    area: Matrix
    curve: Cube
    range: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """Attention between ``tokens`` (C), in multiples of uniform attention.

    ``layers`` (L, C, C) is the mean over heads; ``same`` and ``other`` (L, H) are attention to
    one's own token elsewhere and to other tokens.
    """

    tokens: list[str]
    layers: Cube
    same: Matrix
    other: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Accuracy in percent (L, all layers) on frames of utterances not learnt from.

    ``chance`` is what always naming the most frequent token scores.
    """

    accuracy: Vector
    chance: float
    num_train_frames: int
    num_test_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """A schedule to try: ``reuse.groups``, what it risks (see `asr.reuse.suggest`), and the
    encoder latency predicted for it, None where no encoder was timed.

    ``added_loss`` is what converting the model to it added to the loss, None where untried.
    """

    groups: list[int]
    risk: float
    latency_ms: float | None
    added_loss: float | None = None

    @property
    def shares(self) -> bool:
        """Whether any layer takes over the attention of another."""
        return max(self.groups) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """By greedy ``threshold``, and all that none beats in both risk and cost, cheapest first.

    Both from the Jensen-Shannon similarity of heads of one index. The cost is the latency at
    ``length_s`` seconds of audio, or where that is None the number of maps computed. ``proposed``
    is the one with the least risk within the budget ``budget_ms``, without one the greedy one.
    """

    threshold: float
    length_s: float | None
    budget_ms: float | None
    greedy: Groups
    best: list[Groups]
    proposed: Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What conversion to the reuse ``method`` did to the loss, without training.

    Losses are means of CTC over ``num_utterances``, in nats per utterance: ``full_loss`` that of
    the model as it is, ``loss`` (L, L) that of the model in which only one layer (column) follows
    another (row), None for pairs that cannot be. The risk of the schedules in ``best`` is the sum
    of what their pairs add; of them none beats another in both risk and cost, cheapest first.
    ``proposed`` is the one of least risk within the budget, without one that of least risk among
    those that cost no more than ``limit``: what similarity proposes, or groups of two where
    similarity proposes to share nothing. ``reuse`` is the config of what is proposed.
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
    """One model on one manifest; parts are None where nothing could be measured."""

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
