"""The reuse methods and groupings every equivalence is tested with.

A new method joins by lines in ``CASES``, a new grouping by one in ``GROUPINGS``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from asr.encoder.stack import Encoder
from asr.nn.convolution import Normalisation
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind
from asr.reuse.absent import Absent
from asr.reuse.band import ReuseBand
from asr.reuse.base import ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.few_heads import FewHeads
from asr.reuse.grouped import Grouped
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.linear import Linear
from asr.reuse.local import Local
from asr.reuse.mixed import Mixed, Part
from asr.reuse.none import NoReuse
from asr.reuse.pooled import Pooled
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.top_k import ReuseTopK
from asr.reuse.within import ReuseWithin
from tests.encoder.tiny import NUM_HEADS, EncoderKind, tiny_encoder
from tests.equivalence.reference import Place, places_of

NUM_LAYERS = 4

GROUPINGS: dict[str, tuple[ReuseProbs, list[int]]] = {
    "all": (ReuseProbs(group_size=4), [0, 0, 0, 0]),
    "pairs": (ReuseProbs(groups=[2, 2]), [0, 0, 2, 2]),
    "uneven": (ReuseProbs(groups=[1, 3]), [0, 1, 1, 1]),
    "between": (ReuseProbs(pattern="LAF"), [0, 1, 0, 3]),
    "alone-twice": (ReuseProbs(pattern="LAAF"), [0, 1, 2, 0]),
    "late": (ReuseProbs(leaders=[0, 1, 1, 3]), [0, 1, 1, 3]),
}


@dataclass(frozen=True)
class Case:
    """A reuse method and the leader of each layer that it must come down to."""

    reuse: ReuseMethod
    leaders: list[int]
    num_heads: int = NUM_HEADS

    @property
    def family(self) -> str:
        """The method: `pairwise` lets each method meet every other setting."""
        return self.reuse.name

    def place(self, layer: int) -> Place:
        """The method a layer is under, and where it stands among the layers of that method."""
        return places_of(self.reuse, NUM_LAYERS)[layer]

    def encoder(
        self,
        kind: EncoderKind = "conformer",
        *,
        positions: PositionKind = "relative",
        subsampling: SubsamplingKind = "conv4",
        dropout: float = 0.0,
        causal_convolution: bool = False,
        convolution_norm: Normalisation = "batch",
        seed: int = 0,
    ) -> Encoder:
        """A tiny encoder with this method."""
        return tiny_encoder(
            kind,
            reuse=self.reuse,
            positions=positions,
            num_layers=NUM_LAYERS,
            num_heads=self.num_heads,
            subsampling=subsampling,
            dropout=dropout,
            causal_convolution=causal_convolution,
            convolution_norm=convolution_norm,
            seed=seed,
        )


ALONE = list(range(NUM_LAYERS))
ALL = [0, 0, 0, 0]
PAIRS = [0, 0, 2, 2]
BETWEEN = [0, 1, 0, 0]

CASES: dict[str, Case] = {
    "none-fused": Case(NoReuse(fused=True), ALONE),
    "none-explicit": Case(NoReuse(fused=False), ALONE),
    "few-heads-1": Case(FewHeads(num_heads=1), ALONE),
    "few-heads-3": Case(FewHeads(num_heads=3), ALONE, num_heads=4),
    "local-1": Case(Local(width=1), ALONE),
    "local-2": Case(Local(width=2), ALONE),
    "grouped-2": Case(Grouped(frames_per_group=2), ALONE),
    "grouped-3": Case(Grouped(frames_per_group=3), ALONE, num_heads=4),
    "pooled-2": Case(Pooled(pool_size=2), ALONE),
    "pooled-3": Case(Pooled(pool_size=3), ALONE),
    "linear": Case(Linear(), ALONE),
    "absent-above": Case(Absent(first_layer=1), ALONE),
    "absent-everywhere": Case(Absent(first_layer=0), ALONE),
    "mixed-reuse": Case(
        Mixed(
            parts=[
                Part(method=ReuseProbs(group_size=2)),
                Part(method=ReuseKeysValues(pattern="LF")),
            ]
        ),
        PAIRS,
    ),
    "mixed-alone": Case(
        Mixed(
            parts=[
                Part(layers=2, method=ReuseContext(group_size=2)),
                Part(layers=1, method=Local(width=1)),
                Part(layers=1, method=Absent()),
            ]
        ),
        [0, 0, 2, 3],
    ),
    "probs-ones": Case(ReuseProbs(group_size=1), ALONE),
    **{f"probs-{name}": Case(reuse, leaders) for name, (reuse, leaders) in GROUPINGS.items()},
    "heads-1": Case(ReuseHeads(group_size=4, num_reused=1), ALL, num_heads=4),
    "heads-2": Case(ReuseHeads(group_size=4, num_reused=2), ALL, num_heads=4),
    "heads-3": Case(ReuseHeads(group_size=4, num_reused=3), ALL, num_heads=4),
    "heads-4": Case(ReuseHeads(group_size=4, num_reused=4), ALL, num_heads=4),
    "heads-pairs": Case(ReuseHeads(group_size=2, num_reused=1), PAIRS),
    "heads-between": Case(ReuseHeads(leaders=BETWEEN, num_reused=3), BETWEEN, num_heads=4),
    "heads-low": Case(
        ReuseHeads(group_size=4, num_reused=2, max_reuse_layer=2), [0, 0, 0, 3], num_heads=4
    ),
    "band-all": Case(ReuseBand(group_size=4, width=1), ALL),
    "band-pairs": Case(ReuseBand(group_size=2, width=3), PAIRS),
    "band-between": Case(ReuseBand(leaders=BETWEEN, width=2), BETWEEN),
    "top_k-all": Case(ReuseTopK(group_size=4, num_kept=2), ALL),
    "top_k-pairs": Case(ReuseTopK(group_size=2, num_kept=1), PAIRS),
    "top_k-between": Case(ReuseTopK(leaders=BETWEEN, num_kept=4), BETWEEN),
    "scores-none": Case(ReuseScores(group_size=4, correction="none"), ALL),
    "scores-diagonal": Case(ReuseScores(group_size=4, correction="diagonal", bandwidth=2), ALL),
    "scores-low-rank": Case(ReuseScores(group_size=4, correction="low_rank", rank=3), ALL),
    "scores-pairs": Case(ReuseScores(group_size=2, correction="low_rank", rank=1), PAIRS),
    "scores-between": Case(
        ReuseScores(leaders=BETWEEN, correction="diagonal", bandwidth=1), BETWEEN
    ),
    "kv-all": Case(ReuseKeysValues(group_size=4), ALL),
    "kv-pairs": Case(ReuseKeysValues(group_size=2), PAIRS),
    "kv-between": Case(ReuseKeysValues(leaders=BETWEEN), BETWEEN),
    "context-all": Case(ReuseContext(group_size=4), ALL),
    "context-pairs": Case(ReuseContext(group_size=2), PAIRS),
    "context-between": Case(ReuseContext(leaders=BETWEEN), BETWEEN),
    "within-2": Case(ReuseWithin(num_mixes=2), ALONE),
    "within-3": Case(ReuseWithin(num_mixes=3), ALONE),
}

REUSING = {
    name: case
    for name, case in CASES.items()
    if any(leader != layer for layer, leader in enumerate(case.leaders))
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_reusing_case = pytest.mark.parametrize("case", REUSING.values(), ids=REUSING)
