"""Conversion of dataclasses to plain JSON values and back, checked against their annotations.

A trailing underscore of a field (``del_``) is not part of its name in JSON. JSON has no NaN: a NaN
becomes null, and null becomes NaN again where a float is expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from asr.errors import InputError

T = TypeVar("T")

_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def to_plain(value: object) -> Any:
    """Convert ``value`` to JSON values; raise TypeError if that is impossible."""
    match value:
        case float() if math.isnan(value):
            return None
        case float() if math.isinf(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): to_plain(item) for key, item in value.items()}
        case list() | tuple():
            return [to_plain(item) for item in value]
    if is_dataclass(value):
        return {
            field.name.rstrip("_"): to_plain(getattr(value, field.name)) for field in fields(value)
        }
    raise TypeError(f"{type(value).__name__} has no plain form")


def from_plain(kind: type[T], value: object, where: str) -> T:
    """Convert ``value`` to an instance of the dataclass ``kind``.

    Raises InputError that starts with ``where`` and names the key that is missing, unknown or has
    another type than its field.
    """
    result: T = _decode(kind, value, where, "")
    return result


def _decode(kind: Any, value: object, where: str, key: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, value, where, key)
    if origin in (Union, UnionType):
        if value is None:
            return None
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
        return _decode(kind, value, where, key)
    if origin is dict:
        item_kind = get_args(kind)[1]
        items = _expect(dict, value, where, key, "a mapping").items()
        return {name: _decode(item_kind, item, where, _join(key, name)) for name, item in items}
    if origin is tuple:
        item_kind = get_args(kind)[0]
        sequence = enumerate(_expect(list, value, where, key, "a list"))
        return tuple(_decode(item_kind, item, where, f"{key}[{i}]") for i, item in sequence)
    assert kind in _NAMES, kind
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        _complain(value, where, key, _NAMES[kind])
    return value


def _decode_dataclass(kind: type, value: object, where: str, key: str) -> Any:
    given = dict(_expect(dict, value, where, key, "a mapping"))
    hints = get_type_hints(kind)
    arguments = {}
    for field in fields(kind):
        name = field.name.rstrip("_")
        if name in given:
            item = given.pop(name)
            arguments[field.name] = _decode(hints[field.name], item, where, _join(key, name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{where}: key {_join(key, name)!r} is missing")
    if given:
        allowed = ", ".join(field.name.rstrip("_") for field in fields(kind))
        raise InputError(f"{where}: unknown key {_join(key, min(given))!r}; allowed: {allowed}")
    return kind(**arguments)


def _expect(kind: type[T], value: object, where: str, key: str, name: str) -> T:
    if not isinstance(value, kind):
        _complain(value, where, key, name)
    assert isinstance(value, kind)
    return value


def _complain(value: object, where: str, key: str, expected: str) -> None:
    place = f"key {key!r}" if key else "the content"
    raise InputError(f"{where}: {place} is {value!r:.60}; {expected} is expected")


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)
