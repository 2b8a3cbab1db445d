from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from asr.encoder.conformer import Conformer
from asr.encoder.stack import ScheduleRow
from asr.encoder.transformer import Transformer
from asr.errors import InputError
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.reuse.schedule import Role
from asr.types import EncoderOutput
from tests.encoder.tiny import (
    D_MODEL,
    KINDS,
    NUM_HEADS,
    EncoderKind,
    random_features,
    tiny_encoder,
)

each_kind = pytest.mark.parametrize("kind", KINDS)

SIZES: dict[str, Any] = {
    "num_mel_bins": 10,
    "num_layers": 4,
    "d_model": 16,
    "num_heads": 2,
    "ffn_dim": 32,
    "positions": "relative",
    "subsampling": "conv4",
    "subsampling_channels": 8,
    "dropout": 0.0,
}


@each_kind
@pytest.mark.parametrize(("subsampling", "factor"), [("conv4", 4), ("separable8", 8)])
def test_shapes_and_attributes(kind: EncoderKind, subsampling: Any, factor: int) -> None:
    encoder = tiny_encoder(kind, subsampling=subsampling, num_layers=3)

    output = encoder(*random_features([33, 8]))

    assert isinstance(output, EncoderOutput)
    assert output.frames_BTD.shape == (2, -(-33 // factor), D_MODEL)
    assert output.lengths_B.tolist() == [-(-33 // factor), -(-8 // factor)]
    assert output.intermediate == ()
    assert (encoder.d_model, encoder.num_layers) == (D_MODEL, 3)
    assert encoder.subsampling_factor == factor
    assert [layer.role for layer in encoder.schedule] == [Role.ALONE] * 3


@each_kind
def test_intermediate_outputs_are_those_of_a_shallower_encoder(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind, reuse=ReuseProbs(pattern="LF"))
    features_BTF, lengths_B = random_features([33, 8])

    output = encoder(features_BTF, lengths_B, intermediate_layers=[2, 0])

    assert len(output.intermediate) == 2
    for (found_BTD, _), num_layers in zip(output.intermediate, (1, 3), strict=True):
        shallow = tiny_encoder(kind, reuse=ReuseProbs(pattern="LF"), num_layers=num_layers)
        shallow.load_state_dict({name: encoder.state_dict()[name] for name in shallow.state_dict()})
        expected_BTD = shallow(features_BTF, lengths_B).frames_BTD
        for row, length in enumerate(output.lengths_B):
            torch.testing.assert_close(
                found_BTD[row, :length], expected_BTD[row, :length], atol=1e-5, rtol=1e-5
            )


@each_kind
def test_asking_for_intermediate_outputs_does_not_change_the_last(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind)
    features_BTF, lengths_B = random_features([33, 8])

    with torch.no_grad():
        without = encoder(features_BTF, lengths_B).frames_BTD
        output = encoder(features_BTF, lengths_B, (1, 3))

    assert torch.equal(output.frames_BTD, without)
    assert torch.equal(output.intermediate[1].frames_BTD, without)


@each_kind
def test_transformer_alone_ends_in_a_norm_of_its_own(kind: EncoderKind) -> None:
    keys = {name for name in tiny_encoder(kind).state_dict() if name.startswith("norm.")}

    assert keys == ({"norm.weight", "norm.bias"} if kind == "transformer" else set())


def test_schedule_rows_say_what_each_layer_saves() -> None:
    encoder = tiny_encoder(reuse=ReuseProbs(pattern="LAF"), positions="relative", num_layers=4)
    saved = 3 * D_MODEL * D_MODEL + 4 * D_MODEL

    assert encoder.schedule_rows() == [
        ScheduleRow(0, "lead", None, 0, 0, "probs"),
        ScheduleRow(1, "alone", None, 0, 0, "probs"),
        ScheduleRow(2, "follow", 0, NUM_HEADS, saved, "probs"),
        ScheduleRow(3, "alone", None, 0, 0, "probs"),
    ]


def test_the_baseline_saves_nothing() -> None:
    rows = tiny_encoder(reuse=NoReuse()).schedule_rows()

    assert [row._replace(layer=0) for row in rows] == [
        ScheduleRow(0, "alone", None, 0, 0, "none")
    ] * 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_layers": 0}, r"encoder\.num_layers=0: allowed: a whole number from 1 to"),
        ({"num_heads": 3}, r"encoder\.num_heads=3 must divide encoder\.d_model=16"),
        ({"num_heads": 0}, r"encoder\.num_heads=0"),
        ({"num_heads": 16}, r"encoder\.num_heads=16 .* even width"),
        (
            {"positions": "absolute"},
            r"encoder\.positions='absolute': allowed: relative, rotary, none",
        ),
        ({"subsampling": "conv8"}, r"encoder\.subsampling='conv8'.*conv4.*separable8"),
    ],
    ids=str,
)
@each_kind
def test_sizes_that_do_not_fit(kind: EncoderKind, changed: dict[str, Any], message: str) -> None:
    kernel_size = {"conv_kernel_size": 5} if kind == "conformer" else {}
    make: Callable[..., object] = Conformer if kind == "conformer" else Transformer

    with pytest.raises(InputError, match=message):
        make(reuse=NoReuse(), **SIZES | kernel_size | changed)


def test_an_even_kernel() -> None:
    with pytest.raises(InputError, match=r"encoder\.conv_kernel_size=4: allowed: odd"):
        Conformer(reuse=NoReuse(), conv_kernel_size=4, **SIZES)


@pytest.mark.parametrize("kernel_size", [0, -1])
def test_a_kernel_of_no_frames(kernel_size: int) -> None:
    with pytest.raises(InputError, match=rf"encoder\.conv_kernel_size={kernel_size}: allowed"):
        Conformer(reuse=NoReuse(), conv_kernel_size=kernel_size, **SIZES)


@pytest.mark.parametrize("max_map_mib", [-1.0, float("nan")])
def test_maps_of_less_than_no_memory(max_map_mib: float) -> None:
    message = rf"encoder\.max_map_mib={max_map_mib}: allowed: a number from 0 to .*, or null"
    with pytest.raises(InputError, match=message):
        Conformer(reuse=NoReuse(), conv_kernel_size=5, max_map_mib=max_map_mib, **SIZES)


def test_a_schedule_that_does_not_fit_the_depth() -> None:
    with pytest.raises(InputError, match=r"reuse\.group_size=3 .*encoder\.num_layers=4"):
        Conformer(reuse=ReuseProbs(group_size=3), conv_kernel_size=5, **SIZES)


@each_kind
def test_training_draws_dropout_and_inference_does_not(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind, dropout=0.3)
    features_BTF, lengths_B = random_features([33, 8])

    def twice() -> list[torch.Tensor]:
        return [encoder(features_BTF, lengths_B).frames_BTD for _ in range(2)]

    assert torch.equal(*twice())
    encoder.train()
    assert not torch.equal(*twice())


@each_kind
def test_every_dropout_is_in_use(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind, reuse=ReuseProbs(pattern="LFA"), num_layers=3).train()
    features_BTF, lengths_B = random_features([33, 8])
    dropouts = {n: m for n, m in encoder.named_modules() if isinstance(m, nn.Dropout)}

    for name, module in dropouts.items():
        module.p = 0.5
        once, again = (encoder(features_BTF, lengths_B).frames_BTD for _ in range(2))
        module.p = 0.0
        assert not torch.equal(once, again), name
    assert "dropout" in dropouts, "the one behind the subsampling"


@each_kind
def test_a_copy_is_independent_and_equal(kind: EncoderKind) -> None:
    """Weight averaging keeps a deep copy of the model beside the one that learns."""
    encoder = tiny_encoder(kind, reuse=ReuseProbs(pattern="LF"))
    twin = copy.deepcopy(encoder)
    features = random_features([33, 8])

    assert torch.equal(twin(*features).frames_BTD, encoder(*features).frames_BTD)
    assert twin.schedule_rows() == encoder.schedule_rows()
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in encoder.parameters()}


@each_kind
def test_the_shortest_utterance(kind: EncoderKind) -> None:
    output = tiny_encoder(kind)(*random_features([1]))

    assert output.frames_BTD.shape == (1, 1, D_MODEL)
    assert output.frames_BTD.isfinite().all()


@each_kind
def test_a_leader_finds_the_memory_of_the_last_map_free(kind: EncoderKind) -> None:
    """What it hands on may be as large as what was handed on before."""
    encoder = tiny_encoder(kind, reuse=ReuseProbs(pattern="LF"))
    handed: list[object] = []
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda _, args: handed.append(args[2]))

    encoder(*random_features([33, 8]))

    assert [carry is None for carry in handed] == [True, False, True, False]
