"""The names under which weights are kept: a package of today must load tomorrow."""

from __future__ import annotations

import pytest

from asr.nn.positions import PositionKind
from asr.reuse.base import ReuseMethod
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind, tiny_encoder

SUBSAMPLING = [
    "subsampling.stages.0.0.weight",
    "subsampling.stages.0.0.bias",
    "subsampling.stages.1.0.weight",
    "subsampling.stages.1.0.bias",
    "subsampling.project.weight",
    "subsampling.project.bias",
]
ATTENTION_NORM = ["attention_norm.weight", "attention_norm.bias"]
SCORES = [
    "attention.scores.query.weight",
    "attention.scores.query.bias",
    "attention.scores.key.weight",
    "attention.scores.key.bias",
]
POSITION = [
    "attention.scores.positions.content_bias_HK",
    "attention.scores.positions.position_bias_HK",
    "attention.scores.positions.position.weight",
]
MIX = [
    "attention.mix.value.weight",
    "attention.mix.value.bias",
    "attention.mix.output.weight",
    "attention.mix.output.bias",
]
CONVOLUTION = [
    "convolution.norm.weight",
    "convolution.norm.bias",
    "convolution.expand.weight",
    "convolution.expand.bias",
    "convolution.depthwise.weight",
    "convolution.batch_norm.weight",
    "convolution.batch_norm.bias",
    "convolution.batch_norm.running_mean",
    "convolution.batch_norm.running_var",
    "convolution.batch_norm.num_batches_tracked",
    "convolution.project.weight",
    "convolution.project.bias",
]
NORM = ["norm.weight", "norm.bias"]


def feedforward(name: str) -> list[str]:
    parts = ("norm", "expand", "project")
    return [f"{name}.{part}.{kind}" for part in parts for kind in ("weight", "bias")]


def layer(kind: EncoderKind, attention: list[str]) -> list[str]:
    attention = [*ATTENTION_NORM, *attention]
    if kind == "transformer":
        return [*attention, *feedforward("feedforward")]
    return [
        *feedforward("feedforward_in"),
        *attention,
        *CONVOLUTION,
        *feedforward("feedforward_out"),
        *NORM,
    ]


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("reuse", "follows"),
    [(NoReuse(), False), (NoReuse(fused=False), False), (ReuseProbs(group_size=2), True)],
    ids=["none", "none-explicit", "probs"],
)
def test_names_and_their_order(
    reuse: ReuseMethod, follows: bool, kind: EncoderKind, positions: PositionKind
) -> None:
    own = [*SCORES, *(POSITION if positions == "relative" else []), *MIX]
    layers = [layer(kind, own), layer(kind, MIX if follows else own)]

    assert list(
        tiny_encoder(kind, reuse=reuse, positions=positions, num_layers=2).state_dict()
    ) == [
        *SUBSAMPLING,
        *(f"layers.{index}.{name}" for index, names in enumerate(layers) for name in names),
        *(NORM if kind == "transformer" else []),
    ]
