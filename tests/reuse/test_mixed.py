from __future__ import annotations

import re

import pytest
import torch

from asr.encoder.stack import ScheduleRow
from asr.errors import InputError
from asr.reuse.absent import Absent
from asr.reuse.base import AttentionCarry, ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.few_heads import FewHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.local import Local
from asr.reuse.mixed import Mixed, Part
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from tests.encoder.tiny import KINDS, NUM_HEADS, EncoderKind, random_features, tiny_encoder

PAIRS = ReuseProbs(group_size=2)


def parts(*given: tuple[int | None, ReuseMethod]) -> Mixed:
    return Mixed(parts=[Part(layers=layers, method=method) for layers, method in given])


def refused(mixed: Mixed, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        tiny_encoder(reuse=mixed)


def test_schedule_rows() -> None:
    mixed = parts((1, NoReuse()), (2, PAIRS), (None, Absent(first_layer=1)))
    scores, whole = 3 * 16 * 16 + 4 * 16, 5 * 16 * 16 + 8 * 16

    assert tiny_encoder(reuse=mixed, num_layers=5).schedule_rows() == [
        ScheduleRow(0, "alone", None, 0, 0, "none"),
        ScheduleRow(1, "lead", None, 0, 0, "probs"),
        ScheduleRow(2, "follow", 1, NUM_HEADS, scores, "probs"),
        ScheduleRow(3, "alone", None, 0, 0, "absent"),
        ScheduleRow(4, "absent", None, 0, whole, "absent"),
    ]


@pytest.mark.parametrize(
    ("layers", "num_layers", "methods"),
    [
        ([None], 3, "aaa"),
        ([None, None], 6, "aaabbb"),
        ([1, None], 4, "abbb"),
        ([None, 2, None], 4, "abbc"),
        ([None, 2, None], 5, "aabbc"),
        ([None, None, None], 8, "aaabbbcc"),
        ([2, 2], 4, "aabb"),
    ],
)
def test_layers_that_are_not_given_are_shared(
    layers: list[int | None], num_layers: int, methods: str
) -> None:
    schedule = parts(*((size, Local(width=1)) for size in layers)).schedule(num_layers)

    begins = [role.layer for role in schedule if role.begins_part]
    assert [role.layer for role in schedule] == list(range(num_layers))
    assert begins == [methods.index(method) for method in sorted(set(methods))]


def test_parts_inside_a_part() -> None:
    inner = parts((1, NoReuse()), (1, Local(width=1)))
    schedule = parts((2, PAIRS), (2, inner)).schedule(4)

    assert [role.method for role in schedule] == ["probs", "probs", "none", "local"]
    assert [role.begins_part for role in schedule] == [True, False, True, True]


@pytest.mark.parametrize(
    ("mixed", "message"),
    [
        (parts(), "reuse.parts add up to 0 layers, but encoder.num_layers=4"),
        (
            parts((2, PAIRS), (3, NoReuse())),
            "reuse.parts add up to 5 layers, but encoder.num_layers=4",
        ),
        (
            parts((2, PAIRS), (0, NoReuse())),
            "reuse.parts[1].layers=0: allowed: 1 or more, or null for a share of what the other "
            "parts leave",
        ),
        (
            parts((4, PAIRS), (None, NoReuse())),
            "reuse.parts leave 0 of encoder.num_layers=4 to 1 parts with layers=null: each needs 1 "
            "or more",
        ),
        (
            parts((3, NoReuse()), (None, NoReuse()), (None, PAIRS)),
            "reuse.parts leave 1 of encoder.num_layers=4 to 2 parts with layers=null: each needs 1 "
            "or more",
        ),
        (
            parts((1, NoReuse()), (3, PAIRS)),
            "reuse.parts[1].method.group_size=2 does not divide reuse.parts[1].layers=3; "
            "allowed: 1, 3 (or give reuse.parts[1].method.groups)",
        ),
        (
            parts((1, NoReuse()), (3, ReuseProbs())),
            "reuse.parts[1].method: give exactly one of groups, group_size, pattern, leaders; "
            "given: none (switch one off with reuse.parts[1].method.NAME=null)",
        ),
        (
            parts((2, FewHeads(num_heads=2)), (2, PAIRS)),
            "reuse.parts[0].method.num_heads=2: allowed: 1 to 1, below encoder.num_heads=2",
        ),
        (
            parts((2, NoReuse()), (2, parts((1, NoReuse()), (1, FewHeads(num_heads=2))))),
            "reuse.parts[1].method.parts[1].method.num_heads=2: allowed: 1 to 1, below "
            "encoder.num_heads=2",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_named_where_it_is(mixed: Mixed, message: str) -> None:
    refused(mixed, message)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_handed_nothing(kind: EncoderKind, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny_encoder(kind, reuse=parts((2, PAIRS), (1, NoReuse()), (1, Local(width=1))))
    seen: list[AttentionCarry | None] = []
    for layer in encoder.layers:
        attention = layer.get_submodule("attention")

        def spy(x, frames, carry, forward=attention.forward):  # type: ignore[no-untyped-def]
            seen.append(carry)
            return forward(x, frames, carry)

        monkeypatch.setattr(attention, "forward", spy)

    with torch.no_grad():
        encoder(*random_features([30, 13]))

    assert [carry is None for carry in seen] == [True, False, True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_does_what_its_method_does_alone(kind: EncoderKind) -> None:
    """Layers of one method all through, cut in two at a border between its groups."""
    for whole, below, above in (
        (PAIRS, PAIRS, ReuseProbs(pattern="LF")),
        (ReuseContext(group_size=2), ReuseContext(group_size=2), ReuseContext(groups=[2])),
        (ReuseKeysValues(groups=[1, 3]), NoReuse(), ReuseKeysValues(group_size=3)),
    ):
        border = 1 if isinstance(below, NoReuse) else 2
        one = tiny_encoder(kind, reuse=whole, seed=1)
        two = tiny_encoder(kind, reuse=parts((border, below), (None, above)), seed=2)
        two.load_state_dict(one.state_dict())
        features = random_features([30, 13])
        with torch.no_grad():
            assert torch.equal(one(*features).frames_BTD, two(*features).frames_BTD)
