"""Do the values of a config have the types that a constructor is annotated with?"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from asr.types import InputError


def check_types(target: type, arguments: Mapping[str, object], key: str) -> None:
    """Raise InputError for a value that the annotation of its parameter does not allow."""
    parameters = inspect.signature(target, eval_str=True).parameters
    for name, value in arguments.items():
        hint = parameters[name].annotation
        if not fits(value, hint):
            allowed = inspect.formatannotation(hint, "collections.abc")
            raise InputError(f"{key}.{name}={value!r}: allowed: {allowed}")


def fits(value: object, hint: Any) -> bool:
    """Whether plain data is of an annotated type; a whole number may stand for a float."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str | int) and value in parts
    if origin in (list, Sequence):
        return isinstance(value, list | tuple) and all(fits(item, parts[0]) for item in value)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if hint in (str, bool, NoneType):
        return isinstance(value, hint)
    return True
