"""A schedule in which nobody follows is the baseline, to the last parameter."""

from __future__ import annotations

import torch

from asr.nn.positions import PositionKind
from asr.reuse.band import ReuseBand
from asr.reuse.base import ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.top_k import ReuseTopK
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind, random_features, tiny_encoder
from tests.pairwise import pairwise

ONES: dict[str, ReuseMethod] = {
    "groups": ReuseProbs(groups=[1, 1, 1, 1]),
    "group_size": ReuseProbs(group_size=1),
    "pattern": ReuseProbs(pattern="A"),
    "leads nobody follows": ReuseProbs(pattern="L"),
    "leaders": ReuseProbs(leaders=[0, 1, 2, 3]),
    "heads": ReuseHeads(group_size=1, num_reused=1),
    "heads below the first": ReuseHeads(group_size=4, num_reused=1, max_reuse_layer=0),
    "band": ReuseBand(group_size=1),
    "top_k": ReuseTopK(group_size=1),
    "scores": ReuseScores(group_size=1),
    "kv": ReuseKeysValues(group_size=1),
    "context": ReuseContext(group_size=1),
}


@pairwise(positions=POSITIONS, kind=KINDS, reuse=ONES)
def test_groups_of_one_equal_no_reuse_bit_by_bit(
    kind: EncoderKind, positions: PositionKind, reuse: ReuseMethod
) -> None:
    ones = tiny_encoder(kind, reuse=reuse, positions=positions, seed=1)
    none = tiny_encoder(kind, reuse=NoReuse(), positions=positions, seed=2)
    ones.load_state_dict(none.state_dict())
    features_BTF, lengths_B = random_features([19, 3, 12])

    with torch.no_grad():
        expected, found = none(features_BTF, lengths_B), ones(features_BTF, lengths_B)

    assert torch.equal(found.frames_BTD, expected.frames_BTD)
    assert torch.equal(found.lengths_B, expected.lengths_B)
    assert [row.parameters_saved for row in ones.schedule_rows()] == [0] * 4
    assert [row.role for row in ones.schedule_rows()] == ["alone"] * 4
