"""Overrides as typed on the command line, in Hydra's grammar."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from asr.types import InputError


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed.

    Raises:
        InputError: one is not ``key=value``, or adds (``+``) or removes (``~``) a key.
    """
    return [_parse(line) for line in overrides]


def _parse(line: str) -> Override:
    if line.startswith("+"):
        raise InputError(
            f"{line}: keys cannot be added, only changed (every key that is read exists already); "
            f"write {line.lstrip('+')}"
        )
    if line.startswith("~"):
        raise InputError(f"{line}: keys cannot be removed; write {line[1:].partition('=')[0]}=null")
    try:
        override = OverridesParser.create().parse_override(line)
    except HydraException:
        override = None
    if override is None or not override.key_or_group or override.package is not None:
        raise InputError(
            f"{line!r} is not an override; write key=value, such as encoder=conformer_m or "
            "train.trainer.max_steps=10 (values with spaces or commas in quotes)"
        )
    return override
