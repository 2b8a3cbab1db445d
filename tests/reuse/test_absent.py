from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.profiling.cost import multiply_adds
from asr.reuse.absent import Absent, AbsentAttention
from asr.reuse.none import AloneAttention, NoReuse
from tests.encoder.tiny import D_MODEL, KINDS, EncoderKind, random_features, tiny_encoder

ALL = 5 * D_MODEL * D_MODEL + 6 * D_MODEL + 2 * D_MODEL  # relative positions, norm

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("first_layer", [-1, 4, 9])
def test_a_layer_that_is_not_there(first_layer: int) -> None:
    message = f"reuse.first_layer={first_layer}: allowed: 0 to 3, with encoder.num_layers=4"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        tiny_encoder(reuse=Absent(first_layer=first_layer))


@pytest.mark.parametrize(
    ("first_layer", "num_layers", "num_with"),
    [(0, 4, 0), (1, 4, 1), (3, 4, 3), (None, 4, 2), (None, 5, 2), (None, 1, 0)],
)
def test_schedule_rows(first_layer: int | None, num_layers: int, num_with: int) -> None:
    encoder = tiny_encoder(reuse=Absent(first_layer=first_layer), num_layers=num_layers)

    assert encoder.schedule_rows() == [
        ScheduleRow(i, "alone", None, 0, 0, "absent")
        if i < num_with
        else ScheduleRow(i, "absent", None, 0, ALL, "absent")
        for i in range(num_layers)
    ]


@each_kind
def test_nothing_is_left_of_attention_or_its_norm(kind: EncoderKind) -> None:
    encoder = tiny_encoder(kind, reuse=Absent(first_layer=1))

    kinds = [type(layer.get_submodule("attention")) for layer in encoder.layers]
    assert kinds == [AloneAttention] + [AbsentAttention] * 3
    for layer in encoder.layers[1:]:
        assert isinstance(layer, nn.Module)
        assert not [name for name, _ in layer.named_parameters() if "attention" in name]


@each_kind
def test_a_layer_without_attention_is_one_whose_attention_adds_nothing(kind: EncoderKind) -> None:
    absent = tiny_encoder(kind, reuse=Absent(first_layer=2))
    full = tiny_encoder(kind, reuse=NoReuse())
    full.load_state_dict(absent.state_dict(), strict=False)
    for layer in full.layers[2:]:
        assert isinstance(layer, nn.Module)
        for parameter in layer.get_submodule("attention.mix.output").parameters():
            nn.init.zeros_(parameter)
    features = random_features([40, 13])

    with torch.no_grad():
        found, expected = absent(*features), full(*features)

    for row, length in enumerate(found.lengths_B):
        torch.testing.assert_close(
            found.frames_BTD[row, :length], expected.frames_BTD[row, :length]
        )


@each_kind
def test_it_costs_nothing(kind: EncoderKind) -> None:
    features = random_features([40])
    costs = [
        multiply_adds(tiny_encoder(kind, reuse=Absent(first_layer=first_layer)), *features)
        for first_layer in (3, 2, 1, 0)
    ]
    attention = multiply_adds(tiny_encoder(kind), *features) - costs[0]

    assert [costs[0] - cost for cost in costs] == [0, attention, 2 * attention, 3 * attention]
