from __future__ import annotations

import pytest
import torch

from asr.encoder.parts import ENCODER_PARTS, PART_ORDER, in_order
from asr.nn.positions import PositionKind
from asr.profiling.attention_steps import STEPS
from asr.profiling.breakdown import Call, time_by_part
from asr.profiling.cost import part_name
from tests.encoder.tiny import KINDS, NUM_MEL_BINS, POSITIONS, EncoderKind, tiny_encoder
from tests.equivalence.cases import CASES, Case
from tests.pairwise import pairwise

COMMON = {"subsampling", "feed-forward", "norms and residuals", "projections", "scores", "other"}


def parts_of(case: Case, kind: EncoderKind, positions: PositionKind) -> set[str]:
    encoder = case.encoder(kind, positions=positions)
    args = torch.randn(2, 60, NUM_MEL_BINS), torch.tensor([60, 40])
    times_ms = time_by_part({"x": Call(encoder, args)}, ENCODER_PARTS, repeats=1)["x"]
    assert all(ms > 0 for ms in times_ms.values())
    assert set(times_ms) <= set(PART_ORDER)
    return set(times_ms)


@pytest.mark.parametrize("kind", KINDS)
def test_every_submodule_of_a_layer_has_a_part(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind)
    names = {part_name(name, 2) for name, _ in encoder.named_modules() if name.startswith("layers")}
    names -= {"layers", "layers.attention_norm", "layers.norm", "layers.dropout"}
    assert names <= ENCODER_PARTS.keys()
    top = {name.partition(".")[0] for name, _ in encoder.named_modules() if name}
    assert top <= {part.partition(".")[0] for part in ENCODER_PARTS}


@pairwise(positions=POSITIONS, kind=KINDS)
def test_kernels_are_told_apart(kind: EncoderKind, positions: PositionKind) -> None:
    common = COMMON | ({"convolution"} if kind == "conformer" else set())
    explicit = parts_of(CASES["none-explicit"], kind, positions)
    assert explicit == common | {"softmax", "mix"}
    fused = parts_of(CASES["none-fused"], kind, positions)
    if positions == "relative":  # its position term is a product of its own
        assert fused == common | {"fused attention"}
    else:
        assert fused == (common | {"fused attention"}) - ({"scores"} - fused)


@pytest.mark.parametrize("name", CASES)
def test_every_method_shows_its_steps(name: str) -> None:
    found = parts_of(CASES[name], "conformer", "relative")
    steps = found & {*STEPS}
    assert (COMMON | {"convolution"}) - {*STEPS} <= found
    if name == "absent-everywhere":
        assert not steps
    elif name == "linear":  # a product with a product, without a softmax
        assert steps == {"projections", "scores", "mix"}
    else:
        assert {"projections", "scores"} <= steps
        assert {"softmax", "mix"} <= steps or "fused attention" in steps
    if name.startswith(("probs-all", "probs-pairs", "heads-1", "scores", "context")):
        assert {"softmax", "mix"} <= found
    if name.startswith("kv"):
        assert {"softmax", "mix"}.isdisjoint(found)


def test_parts_stand_in_order() -> None:
    assert in_order(["mix", "new", "subsampling", "mix"]) == ["subsampling", "mix", "new"]
