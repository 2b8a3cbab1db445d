"""Do the keys that somebody sets exist?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asr.cli.suggest import nearest
from asr.types import InputError


def check_keys(changes: Mapping[str, Any], config: Mapping[str, Any], *, where: str = "") -> None:
    """Every key of ``changes`` must exist in ``config``; what ``config`` leaves empty is free.

    Args:
        changes: nested mapping of what is to be set.
        config: nested mapping of what there is.
        where: file to name in the message.

    Raises:
        InputError: a key that does not exist, or a section that would become a single value.
    """
    for key, problem in _problems(changes, config):
        prefix = f"{where}: " if where else ""
        if problem == "unknown":
            raise InputError(f"{prefix}unknown key {key}{_allowed(key, config)}")
        raise InputError(f"{prefix}{key} is a section, not a value{_allowed(f'{key}.', config)}")


def dotted_keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of a nested mapping, sections included: ``train``, ``train.optim``, …."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")


def _problems(
    changes: Mapping[str, Any], config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    for name, value in changes.items():
        key, known = f"{prefix}{name}", config.get(name)
        if name not in config:
            yield key, "unknown"
        elif isinstance(value, Mapping) and isinstance(known, Mapping) and known:
            yield from _problems(value, known, f"{key}.")
        elif isinstance(value, Mapping) and value and known not in (None, {}):
            yield f"{key}.{next(iter(value))}", "unknown"
        elif isinstance(known, Mapping) and known and value is not None:
            yield key, "section"


def _allowed(key: str, config: Mapping[str, Any]) -> str:
    """What to say after an unknown ``key``: the likest keys, or all of the section it names.

    A key of the same last name wins: people remember a setting and forget its section.
    """
    section, _, leaf = key.rpartition(".")
    keys = list(dotted_keys(config))
    siblings = [known for known in keys if known.rpartition(".")[0] == section]
    near = [known for known in keys if known.rpartition(".")[2] == leaf]
    if leaf and not near:
        names = [known.rpartition(".")[2] for known in siblings]
        prefix = f"{section}." if section else ""
        near = [prefix + name for name in nearest(leaf, names)] if siblings else nearest(key, keys)
    if near:
        return f"; did you mean {' or '.join(near[:3])}?"
    shown = [known.rpartition(".")[2] for known in siblings if not known.endswith("_target_")]
    if section and not shown:
        return f"; {section} has no keys" if section in keys else ""
    return f"; {section or 'the recipe'} has {', '.join(shown)}"
