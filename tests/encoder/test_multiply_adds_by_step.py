"""Multiply-adds that the watch charges to each step of attention, against counts by hand.

Counted are two layers, a leader and a follower where a method has them, from the shapes alone:
T frames, D width, H heads of K channels, P = 2T - 1 distances.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from asr.encoder.parts import ENCODER_PARTS
from asr.nn.positions import PositionKind
from asr.profiling.attention_steps import FUSED, MIX, PROJECTIONS, SCORES, SOFTMAX, STEPS
from asr.profiling.breakdown import ATTENTION, OTHER, Call, TorchOperation, watch_operations
from asr.profiling.cost import operation_multiply_adds
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
from asr.reuse.none import NoReuse
from asr.reuse.pooled import Pooled
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.top_k import ReuseTopK
from asr.reuse.within import ReuseWithin
from tests.encoder.tiny import D_MODEL as D
from tests.encoder.tiny import NUM_HEADS as H
from tests.encoder.tiny import POSITIONS, random_features, tiny_encoder

K = D // H
ROWS, LONG_ROWS, LONG_FRAMES = 128, 192, 768  # of the tiles in which rows are attended

METHODS: dict[str, ReuseMethod] = {
    "none": NoReuse(),
    "none_explicit": NoReuse(fused=False),
    "probs": ReuseProbs(group_size=2),
    "band": ReuseBand(group_size=2, width=16),
    "top_k": ReuseTopK(group_size=2, num_kept=16),
    "heads": ReuseHeads(group_size=2, num_reused=1),
    "scores": ReuseScores(group_size=2),
    "scores_low_rank": ReuseScores(group_size=2, correction="low_rank", rank=3),
    "kv": ReuseKeysValues(group_size=2),
    "context": ReuseContext(group_size=2),
    "within": ReuseWithin(num_mixes=2),
    "few_heads": FewHeads(num_heads=1),
    "local": Local(width=64),
    "grouped": Grouped(frames_per_group=3),
    "pooled": Pooled(pool_size=4),
    "linear": Linear(),
    "absent": Absent(first_layer=1),
}


def row_ranges(num_rows: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def near(start: int, stop: int, reach: int, num_frames: int) -> int:
    """Frames at most ``reach`` from a row between ``start`` and ``stop``."""
    return min(stop + reach, num_frames) - max(start - reach, 0)


def by_hand(name: str, positions: PositionKind, T: int) -> Counter[str]:
    relative = positions == "relative"
    square = T * D * D  # one projection of all frames
    table = (2 * T - 1) * D * D * relative

    def distances(size: int, num_frames: int = T, width: int = D) -> int:
        """Products of rows with the distances that their tile can see."""
        tiles = row_ranges(num_frames, size)
        return relative * sum((b - a) * (b - a + num_frames - 1) * width for a, b in tiles)

    def kernel_rows(num_frames: int) -> int:
        return LONG_ROWS if num_frames >= LONG_FRAMES else ROWS

    own = {PROJECTIONS: 4 * square + table}
    fused = Counter(own | {SCORES: distances(kernel_rows(T)), FUSED: 2 * T * T * D})
    explicit = Counter(own | {SCORES: T * T * D + distances(ROWS), MIX: T * T * D})
    follow = Counter({PROJECTIONS: 2 * square, MIX: T * T * D})
    match name:
        case "none":
            return fused + fused
        case "none_explicit":
            return explicit + explicit
        case "probs" | "scores":
            return explicit + follow
        case "scores_low_rank":
            rank = 3
            return explicit + follow + Counter({PROJECTIONS: 2 * T * D * H * rank,
                                                SCORES: T * T * H * rank})  # fmt: skip
        case "band":
            band = sum((b - a) * near(a, b, 16, T) * D for a, b in row_ranges(T, ROWS))
            return explicit + Counter({PROJECTIONS: 2 * square, MIX: band})
        case "top_k":
            return explicit + Counter({PROJECTIONS: 2 * square, MIX: T * 16 * D})
        case "heads":  # one head of two is fresh
            fresh = {PROJECTIONS: square + table // 2, SCORES: (T * T * D + distances(ROWS)) // 2}
            return explicit + follow + Counter(fresh)
        case "kv":
            return fused + Counter({PROJECTIONS: 2 * square, SCORES: fused[SCORES],
                                    FUSED: fused[FUSED]})  # fmt: skip
        case "context":
            wide = Counter({PROJECTIONS: square, MIX: T * T * D})
            return explicit + wide + Counter({PROJECTIONS: square})
        case "within":
            return explicit + explicit + follow + follow
        case "few_heads":
            return Counter({part: num // H * 2 for part, num in fused.items()})
        case "local":
            tiles = row_ranges(T, ROWS)
            seen = [near(a, b, 64, T) for a, b in tiles]
            num_near = min(2 * T - 1, 2 * (64 + ROWS - 1) + 1)
            layer = Counter(
                {
                    PROJECTIONS: 4 * square + relative * num_near * D * D,
                    SCORES: relative
                    * sum((b - a) * (b - a + s - 1) * D
                          for (a, b), s in zip(tiles, seen, strict=True)),
                    FUSED: sum(2 * (b - a) * s * D for (a, b), s in zip(tiles, seen, strict=True)),
                }
            )  # fmt: skip
            return layer + layer
        case "grouped":
            G, width = -(-T // 3), 3 * D
            layer = Counter(
                {
                    PROJECTIONS: 4 * square + relative * (2 * G - 1) * D * width,
                    SCORES: distances(kernel_rows(G), G, width),
                    FUSED: 2 * G * G * width,
                }
            )
            return layer + layer
        case "pooled":
            S = -(-T // 4)
            queries = 4 * S if relative else T  # filled up where residues stand side by side
            layer = Counter(
                {
                    PROJECTIONS: 2 * square + 2 * S * D * D + relative * (2 * S - 1) * 4 * D * D,
                    SCORES: distances(kernel_rows(S), S, 4 * D),
                    FUSED: 2 * queries * S * D,
                }
            )
            return layer + layer
        case "linear":
            layer = Counter({PROJECTIONS: 4 * square, SCORES: T * D, MIX: 2 * T * D * K})
            return layer + layer
        case "absent":
            return fused
    raise AssertionError(name)


@pytest.mark.parametrize("length_s", [5, 60])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", METHODS)
def test_every_product_belongs_to_its_step(
    name: str, positions: PositionKind, length_s: int
) -> None:
    encoder = tiny_encoder("transformer", reuse=METHODS[name], positions=positions, num_layers=2)
    features_BTF, lengths_B = random_features([100 * length_s])
    with torch.inference_mode():
        num_frames = encoder(features_BTF, lengths_B).frames_BTD.shape[1]
    counts: Counter[str] = Counter()

    def charge(part: str, one: TorchOperation) -> None:
        counts[part] += operation_multiply_adds(one.function, one.args, one.kwargs, one.outputs)

    watch_operations(Call(encoder, (features_BTF, lengths_B)), ENCODER_PARTS, charge)
    found = {part: counts[part] for part in STEPS if counts[part]}
    assert found == {part: num for part, num in by_hand(name, positions, num_frames).items() if num}
    assert counts[OTHER] == counts[SOFTMAX] == 0


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", METHODS)
def test_no_operation_of_attention_is_without_a_mark(name: str, positions: PositionKind) -> None:
    encoder = tiny_encoder("transformer", reuse=METHODS[name], positions=positions, num_layers=2)
    unmarked = []

    def charge(part: str, one: TorchOperation) -> None:
        if part == OTHER:
            unmarked.append(str(one.function))

    parts = {"": "outside", "layers.attention": ATTENTION}
    watch_operations(Call(encoder, random_features([700, 500])), parts, charge)
    assert not unmarked
