"""A reuse schedule from overrides alone, without a recipe."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.cli.compose import compose_recipe
from asr.cli.override import parse_overrides
from asr.types import InputError

GROUP = "reuse"
_RECIPE = f"defaults:\n  - {GROUP}: none\n  - _self_\n"


def compose_reuse(overrides: Sequence[str]) -> dict[str, Any]:
    """The config that ``reuse=probs reuse.group_size=2`` and the like come to.

    Raises:
        InputError: no override, one of another key than ``reuse``, or one that is not usable.
    """
    if not overrides:
        raise InputError("no schedule named; such as reuse=probs reuse.group_size=2")
    for line, override in zip(overrides, parse_overrides(overrides), strict=True):
        if override.key_or_group.partition(".")[0] != GROUP:
            raise InputError(
                f"{line}: everything but the schedule stays as it was trained; "
                f"allowed: {GROUP}=… and {GROUP}.KEY=…"
            )
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / f"{GROUP}.yaml"
        recipe.write_text(_RECIPE, encoding="utf-8")
        reuse: dict[str, Any] = compose_recipe(recipe, overrides)[GROUP]
    return reuse
