"""Schedules: four ways to write one, and every rule it can break."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import InputError
from asr.reuse.schedule import (
    LayerRole,
    Role,
    Schedule,
    schedule_from_group_size,
    schedule_from_groups,
    schedule_from_leaders,
    schedule_from_pattern,
)

LETTERS = {Role.ALONE: "A", Role.LEAD: "L", Role.FOLLOW: "F"}


def letters(schedule: Schedule) -> str:
    return "".join(LETTERS[layer.role] for layer in schedule)


def leaders(schedule: Schedule) -> list[int]:
    return [layer.layer if layer.leader is None else layer.leader for layer in schedule]


def attempt(make: Callable[[], Schedule]) -> Schedule | str:
    """A schedule, or the message of the rule it breaks."""
    try:
        return make()
    except InputError as error:
        return str(error)


@pytest.mark.parametrize(
    ("schedule", "expected_letters", "expected_leaders"),
    [
        (schedule_from_groups([4, 4], 8), "LFFFLFFF", [0, 0, 0, 0, 4, 4, 4, 4]),
        (schedule_from_groups([1, 3, 2], 6), "ALFFLF", [0, 1, 1, 1, 4, 4]),
        (schedule_from_groups([1, 1, 1], 3), "AAA", [0, 1, 2]),
        (schedule_from_groups([5], 5), "LFFFF", [0] * 5),
        (schedule_from_group_size(3, 6), "LFFLFF", [0, 0, 0, 3, 3, 3]),
        (schedule_from_group_size(1, 2), "AA", [0, 1]),
        (schedule_from_group_size(2, 2), "LF", [0, 0]),
        (schedule_from_pattern("LFFF", 8), "LFFFLFFF", [0, 0, 0, 0, 4, 4, 4, 4]),
        (schedule_from_pattern("LF", 5), "LFLFA", [0, 0, 2, 2, 4]),
        (schedule_from_pattern("LAF", 6), "LAFLAF", [0, 1, 0, 3, 4, 3]),
        (schedule_from_pattern("L", 3), "AAA", [0, 1, 2]),
        (schedule_from_pattern("AALFFF", 4), "AALF", [0, 1, 2, 2]),
        (schedule_from_leaders([0, 0, 2, 2], 4), "LFLF", [0, 0, 2, 2]),
        (schedule_from_leaders([0, 1, 0, 3, 0], 5), "LAFAF", [0, 1, 0, 3, 0]),
    ],
)
def test_ways_to_write_a_schedule(
    schedule: Schedule, expected_letters: str, expected_leaders: list[int]
) -> None:
    assert letters(schedule) == expected_letters
    assert leaders(schedule) == expected_leaders
    assert [layer.layer for layer in schedule] == list(range(len(schedule)))


BROKEN: list[tuple[Callable[[], Schedule], str]] = [
    (
        lambda: schedule_from_groups([4, 3], 8),
        r"reuse\.groups=\[4, 3\] add up to 7 layers, but encoder\.num_layers=8",
    ),
    (lambda: schedule_from_groups([], 8), r"reuse\.groups=\[\] add up to 0 layers"),
    (
        lambda: schedule_from_groups([9, -1], 8),
        r"reuse\.groups=\[9, -1\]: every group needs at least one layer",
    ),
    (lambda: schedule_from_groups([8, 0], 8), "every group needs at least one layer"),
    (
        lambda: schedule_from_group_size(5, 16),
        r"reuse\.group_size=5 does not divide encoder\.num_layers=16; allowed: 1, 2, 4, 8, 16",
    ),
    (lambda: schedule_from_group_size(0, 4), r"reuse\.group_size=0 .* allowed: 1, 2, 4"),
    (lambda: schedule_from_group_size(-2, 4), r"reuse\.group_size=-2"),
    (lambda: schedule_from_group_size(8, 4), r"reuse\.group_size=8"),
    (
        lambda: schedule_from_pattern("LXF", 3),
        r"reuse\.pattern='LXF': allowed letters are A \(alone\), L \(lead\), F \(follow\)",
    ),
    (lambda: schedule_from_pattern("", 3), r"reuse\.pattern='': allowed letters"),
    (lambda: schedule_from_pattern("lf", 3), r"reuse\.pattern='lf': allowed letters"),
    (
        lambda: schedule_from_pattern("FL", 4),
        r"reuse\.pattern='FL': layer 0 follows, but none leads",
    ),
    (lambda: schedule_from_pattern("AAF", 4), "layer 2 follows, but none leads"),
    (
        lambda: schedule_from_leaders([0, 0], 3),
        r"reuse\.leaders names 2 layers, but encoder\.num_layers=3",
    ),
    (
        lambda: schedule_from_leaders([0, 2, 2], 3),
        r"reuse\.leaders: layer 1 follows 2; allowed: 0 to 1",
    ),
    (lambda: schedule_from_leaders([0, -1, 2], 3), r"layer 1 follows -1; allowed: 0 to 1"),
    (lambda: schedule_from_leaders([7, 1, 2], 3), r"layer 0 follows 7; allowed: 0 to 0"),
    (
        lambda: schedule_from_leaders([0, 0, 1], 3),
        r"layer 2 follows 1, which itself follows 0; a leader computes its own attention",
    ),
    (
        lambda: schedule_from_leaders([0, 0, 2, 2, 0], 5),
        r"layer 4 follows 0, but 2 has led since; only the latest leader can be followed",
    ),
]


@pytest.mark.parametrize(("make", "message"), BROKEN)
def test_a_broken_rule_is_named_with_the_layer(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@st.composite
def valid_leaders(draw: st.DrawFn) -> list[int]:
    """Leaders that keep all rules: a layer leads itself or follows the latest that is followed."""
    num_layers = draw(st.integers(1, 24))
    made: list[int] = []
    followable: int | None = None
    for layer in range(num_layers):
        choices = ["alone", "lead"] + (["follow"] if followable is not None else [])
        choice = draw(st.sampled_from(choices))
        if choice == "follow":
            assert followable is not None
            made.append(followable)
        else:
            made.append(layer)
            followable = layer if choice == "lead" else followable
    return made


@given(valid_leaders())
def test_leaders_round_trip(given_leaders: list[int]) -> None:
    assert leaders(schedule_from_leaders(given_leaders, len(given_leaders))) == given_leaders


@given(valid_leaders())
def test_the_letters_are_a_pattern_of_the_same_schedule(given_leaders: list[int]) -> None:
    schedule = schedule_from_leaders(given_leaders, len(given_leaders))

    assert schedule_from_pattern(letters(schedule), len(schedule)) == schedule


@given(valid_leaders())
def test_roles_agree_with_who_follows_whom(given_leaders: list[int]) -> None:
    schedule = schedule_from_leaders(given_leaders, len(given_leaders))

    latest_lead: int | None = None
    for layer in schedule:
        if layer.role is Role.LEAD:
            latest_lead = layer.layer
        if layer.role is Role.FOLLOW:
            assert layer.leader == latest_lead
        else:
            assert layer.leader is None
    followed = {layer.leader for layer in schedule if layer.role is Role.FOLLOW}
    assert followed == {layer.layer for layer in schedule if layer.role is Role.LEAD}


@given(st.lists(st.integers(-3, 12), max_size=12), st.integers(1, 12))
def test_any_leaders_give_a_schedule_or_one_line_of_error(
    any_leaders: list[int], num_layers: int
) -> None:
    made = attempt(lambda: schedule_from_leaders(any_leaders, num_layers))

    if isinstance(made, str):
        assert made.startswith("reuse.leaders")
        assert "\n" not in made
    else:
        assert leaders(made) == any_leaders


@given(st.text("ALF", min_size=1, max_size=6), st.integers(1, 24))
def test_any_pattern_tiles_or_has_a_follower_without_leader(pattern: str, num_layers: int) -> None:
    tiled = (pattern * num_layers)[:num_layers]
    made = attempt(lambda: schedule_from_pattern(pattern, num_layers))

    if isinstance(made, str):
        assert "F" in tiled.split("L")[0]
        assert f"layer {tiled.index('F')} follows, but none leads" in made
    else:
        # A leader nobody follows works alone; everything else is as written.
        assert all(
            role == wanted or (role, wanted) == ("A", "L")
            for role, wanted in zip(letters(made), tiled, strict=True)
        )


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_groups_lead_with_their_first_layer(groups: list[int]) -> None:
    schedule = schedule_from_groups(groups, sum(groups))

    written = "".join("A" if size == 1 else "L" + "F" * (size - 1) for size in groups)
    assert letters(schedule) == written


@given(st.integers(1, 24))
def test_groups_of_one_are_all_alone(num_layers: int) -> None:
    alone = tuple(LayerRole(layer, Role.ALONE) for layer in range(num_layers))

    assert schedule_from_groups([1] * num_layers, num_layers) == alone
    assert schedule_from_group_size(1, num_layers) == alone
    assert schedule_from_pattern("A", num_layers) == alone
    assert schedule_from_leaders(list(range(num_layers)), num_layers) == alone
