"""Ranges in annotations: what they allow, and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from asr.errors import InputError
from asr.ranges import Range, Share, check_value, describe, fits, in_ranges


@pytest.mark.parametrize(
    ("range_", "inside", "outside", "said"),
    [
        (Range(0, 1), [0, 0.5, 1], [-0.1, 1.1], "from 0 to 1"),
        (Range(0, 1, above=True), [1e-9, 1], [0, 2], "above 0, to 1"),
        (Range(0, 1, below=True), [0, 0.99], [1], "from 0 to below 1"),
        (Range(1, 10**6), [1, 10**6], [0, 10**7], "from 1 to 1,000,000"),
    ],
)
def test_a_range(range_: Range, inside: list[float], outside: list[float], said: str) -> None:
    assert all(number in range_ for number in inside)
    for number in [*outside, math.nan, math.inf, -math.inf, 10**5000, -(10**5000)]:
        assert number not in range_
    assert str(range_) == said


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [
        (Share, "0.5", "a number from 0 to 1"),
        (Share | None, 2, "a number from 0 to 1, or null"),
        (Annotated[int, Range(1, 9)], 1.0, "a whole number from 1 to 9"),
        (Annotated[int, Range(1, 9)], True, "a whole number from 1 to 9"),
        (Sequence[Share], [0.5, math.nan], "a list, each a number from 0 to 1"),
        (float, math.inf, "a number from -1e+12 to 1e+12"),
        (bool, 1, "true or false"),
        (str | None, 1, "text, or null"),
    ],
)
def test_what_does_not_fit_is_named(hint: Any, value: object, said: str) -> None:
    assert describe(hint) == said
    with pytest.raises(InputError, match=r"^a\.b=.*: allowed: ") as caught:
        check_value(value, hint, "a.b")
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize("value", [10**5000, "x" * 10**6], ids=["digits", "text"])
def test_what_is_shown_is_short(value: object) -> None:
    with pytest.raises(InputError) as caught:
        check_value(value, Share, "a.b")
    assert len(str(caught.value)) < 150


def test_a_whole_number_is_a_number() -> None:
    assert fits(1, Share)
    assert fits([0, 0.5], Sequence[Share])


@in_ranges("part")
@dataclass(frozen=True)
class Part:
    share: Share
    name: str = "one"


class Whole:
    def __init__(self, share: Share = 0.5) -> None:
        self.share = share


def test_a_class_checks_what_python_gives_it() -> None:
    assert Part(0.5).share == 0.5
    for make in (
        lambda: Part(2),
        lambda: Part(share=math.nan),
        lambda: in_ranges("part")(Whole)(7),
    ):
        with pytest.raises(InputError, match=r"^part\.share="):
            make()
