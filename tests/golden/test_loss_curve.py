"""Twenty training steps whose losses are kept: a change of the numbers must be meant.

When it is meant, write the curves again and commit them with the change:

    ENCORE_UPDATE_GOLDEN=1 python -m pytest tests/golden

A tolerance allows for other processors and library versions, not for another computation.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from asr.head.ctc import CtcHead
from asr.nn.positions import PositionKind
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
from tests.encoder.tiny import D_MODEL, NUM_MEL_BINS, tiny_encoder

NUM_STEPS = 20
VOCAB_SIZE = 8
TOLERANCE = 1e-3  # of the loss, per step
UPDATE = os.environ.get("ENCORE_UPDATE_GOLDEN") == "1"

CURVES: dict[str, tuple[ReuseMethod, PositionKind]] = {
    "none-relative": (NoReuse(), "relative"),
    "none-rotary": (NoReuse(), "rotary"),
    "probs-relative": (ReuseProbs(group_size=2), "relative"),
    "band-relative": (ReuseBand(group_size=2, width=2), "relative"),
    "top_k-relative": (ReuseTopK(group_size=2, num_kept=3), "relative"),
    "heads-relative": (ReuseHeads(group_size=2, num_reused=1), "relative"),
    "scores-relative": (ReuseScores(group_size=2, bandwidth=2), "relative"),
    "kv-relative": (ReuseKeysValues(group_size=2), "relative"),
    "context-relative": (ReuseContext(group_size=2), "relative"),
    "within-relative": (ReuseWithin(), "relative"),
    "few_heads-relative": (FewHeads(num_heads=1), "relative"),
    "local-relative": (Local(width=3), "relative"),
    "grouped-relative": (Grouped(frames_per_group=3), "relative"),
    "pooled-relative": (Pooled(pool_size=4), "relative"),
    "linear-rotary": (Linear(), "rotary"),
    "absent-relative": (Absent(first_layer=2), "relative"),
    "mixed-relative": (
        Mixed(parts=[Part(method=ReuseProbs(group_size=2)), Part(method=Local(width=3))]),
        "relative",
    ),
}


def losses(reuse: ReuseMethod, positions: PositionKind) -> list[float]:
    """One loss a step of a tiny Conformer-CTC over four batches of noise, seen in turn."""
    encoder = tiny_encoder(reuse=reuse, positions=positions, seed=0).train()
    torch.manual_seed(1)
    head = CtcHead(
        d_model=D_MODEL, vocab_size=VOCAB_SIZE, intermediate_layers=[1], intermediate_weight=0.3
    )
    generator = torch.Generator().manual_seed(2)
    batches = []
    for _ in range(4):
        features_BTF = torch.randn(3, 48, NUM_MEL_BINS, generator=generator)
        tokens_BU = torch.randint(1, VOCAB_SIZE, (3, 4), generator=generator)
        batches.append((features_BTF, tokens_BU))
    lengths_B, token_lengths_B = torch.tensor([48, 40, 29]), torch.tensor([4, 3, 2])
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    curve = []
    for step in range(NUM_STEPS):
        features_BTF, tokens_BU = batches[step % len(batches)]
        encoded = encoder(features_BTF, lengths_B, head.intermediate_layers)
        loss, num_left_out = head.loss(encoded, tokens_BU, token_lengths_B)
        assert num_left_out == 0
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        curve.append(loss.item())
    return curve


@pytest.mark.parametrize("name", CURVES)
def test_loss_curve(name: str) -> None:
    path = Path(__file__).with_name(f"loss_{name}.json")
    found = losses(*CURVES[name])
    if UPDATE:
        path.write_text(json.dumps([round(loss, 6) for loss in found], indent=1) + "\n")
        pytest.skip(f"{path.name} written")

    expected = json.loads(path.read_text())

    assert len(expected) == NUM_STEPS
    assert found == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("name", CURVES)
def test_kept_curves_show_learning(name: str) -> None:
    curve = json.loads(Path(__file__).with_name(f"loss_{name}.json").read_text())

    assert sum(curve[-4:]) < 0.7 * sum(curve[:4])
