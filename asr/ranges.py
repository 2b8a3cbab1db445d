"""Allowed values of parameters and options, stated once, in the annotation.

    def __init__(self, *, dropout: Share, width: Annotated[int, Range(1, 8192)]) -> None

Everything built from a config is checked against its annotations. A class decorated with
`in_ranges` is also checked when Python code builds it, and options of commands take their types
from the same ranges. A number is never NaN or infinite; one without its own range must lie in
`ANY_NUMBER`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from asr.errors import InputError

Class = TypeVar("Class", bound=type)

_SHOWN = 60  # characters of a value shown in a message


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``; ``above`` and ``below`` exclude the ends."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, number: object) -> bool:
        """Return whether the number is in range; False for NaN and the infinities."""
        assert isinstance(number, int | float)
        is_high_enough = self.low < number if self.above else self.low <= number
        is_low_enough = number < self.high if self.below else number <= self.high
        return is_high_enough and is_low_enough

    def __str__(self) -> str:
        low = f"above {_number(self.low)}," if self.above else f"from {_number(self.low)}"
        return f"{low} to {'below ' if self.below else ''}{_number(self.high)}"


ANY_NUMBER = Range(-1e12, 1e12)

MAX_VOCABULARY = 1_000_000

Seed = Annotated[int, Range(0, 2**32 - 1)]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1, 10**9)]
Threads = Annotated[int, Range(1, 1024)]
Rounds = Annotated[int, Range(1, 100_000)]
Warmup = Annotated[int, Range(0, 100_000)]
Layers = Annotated[int, Range(1, 1000)]
Width = Annotated[int, Range(1, 16_384)]
BeamSize = Annotated[int, Range(1, 1000)]
Tokens = Annotated[int, Range(1, 100_000)]
FrameSpan = Annotated[int, Range(1, 100_000)]
ChunkFrames = Annotated[int, Range(1, 4096)]
ChunkMs = Annotated[float, Range(0, 600_000, above=True)]
SampleRate = Annotated[int, Range(1000, 192_000)]
ContextFrames = Annotated[int, Range(0, 16_384)]
AudioLength = Annotated[float, Range(0, 7200, above=True)]
BatchSize = Annotated[int, Range(1, 4096)]
BatchDuration = Annotated[float, Range(0, 36_000, above=True)]
Weight = Annotated[float, Range(0, 100, above=True)]
Entropy = Annotated[float, Range(0, 100, above=True)]
Bonus = Annotated[float, Range(-100, 100)]
Patience = Annotated[float, Range(0, 1e6, above=True)]
Decibels = Annotated[float, Range(-200, 200)]


def in_ranges(key: str) -> Callable[[Class], Class]:
    """Check every argument of a class's constructor; ``key`` is the config key of the class.

    Raises:
        InputError: from the constructor, see `check_values`.
    """

    def decorate(cls: Class) -> Class:
        constructor: Callable[..., None] = vars(cls)["__init__"]
        names = inspect.signature(constructor)

        @functools.wraps(constructor)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            given = dict(names.bind(self, *args, **kwargs).arguments)
            check_values(cls, dict(list(given.items())[1:]), key)
            constructor(self, *args, **kwargs)

        cls.__init__ = checked  # type: ignore[misc]
        return cls

    return decorate


def check_values(target: type, arguments: Mapping[str, object], key: str) -> None:
    """Raise InputError for a value that its parameter's annotation does not allow."""
    hints = parameter_hints(target)
    for name, value in arguments.items():
        check_value(value, hints.get(name), f"{key}.{name}" if key else name)


def check_value(value: object, hint: Any, key: str) -> None:
    """Raise InputError, naming ``key``, unless ``hint`` allows ``value``."""

    if not fits(value, hint):
        raise InputError(f"{key}={shown(value)}: allowed: {describe(hint)}")


@functools.cache
def parameter_hints(target: type) -> dict[str, Any]:
    """Return the annotations of a constructor's parameters."""
    if is_dataclass(target):  # inherited fields may come from other modules
        return get_type_hints(target, include_extras=True)
    parameters = inspect.signature(target, eval_str=True).parameters
    return {name: parameter.annotation for name, parameter in parameters.items()}


def fits(value: object, hint: Any) -> bool:
    """Return whether plain data fits an annotation; a whole number fits a float."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(value, parts[0]) and value in range_of(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str | int) and value in parts
    if origin in (list, Sequence):
        return isinstance(value, list | tuple) and all(fits(item, parts[0]) for item in value)
    if hint in (int, float):
        is_number = isinstance(value, int | hint) and not isinstance(value, bool)
        return is_number and value in ANY_NUMBER
    if hint in (str, bool, NoneType):
        return isinstance(value, hint)
    return True


def range_of(hint: Any) -> Range:
    """Return the range in an annotation."""
    return next(part for part in get_args(hint) if isinstance(part, Range))


def describe(hint: Any) -> str:
    """Describe an annotation in words: ``a whole number from 1 to 8, or null``."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_KINDS[parts[0]]} {range_of(hint)}"
    if origin in (Union, UnionType):
        ordered = sorted(parts, key=lambda part: part is NoneType)
        return ", or ".join(map(describe, ordered))
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin in (list, Sequence):
        return f"a list, each {describe(parts[0])}"
    if hint in (int, float):
        return f"{_KINDS[hint]} {ANY_NUMBER}"
    return _KINDS.get(hint) or inspect.formatannotation(hint, "collections.abc")


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    NoneType: "null",
}


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python cannot print integers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _number(number: float) -> str:
    is_short = number == int(number) and abs(number) < 1e9
    return f"{int(number):,}" if is_short else f"{number:g}"
