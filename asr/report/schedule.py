"""A resolved schedule as a short text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from asr.report.record import ScheduledLayer

_LETTERS = {"alone": "A", "lead": "L", "follow": "F", "absent": "-"}


def role_letter(role: str) -> str:
    """One letter for the role of a layer, a dash where it has no attention."""
    return _LETTERS.get(role, "?")


def method_runs(layers: Sequence[ScheduledLayer]) -> list[list[ScheduledLayer]]:
    """The layers in runs of one method each."""
    return [list(run) for _, run in groupby(layers, key=lambda layer: layer.method)]


def schedule_text(layers: Sequence[ScheduledLayer]) -> str:
    """One letter a layer, the shortest repeated unit first: "LFFF x4", "A x16", "LFFA".

    Where methods are mixed each is named: "probs LFFF x2, local A x8".
    """
    runs = method_runs(layers)
    if len(runs) < 2:
        return _letters_text(layers)
    return ", ".join(f"{run[0].method} {_letters_text(run)}" for run in runs)


def _letters_text(layers: Sequence[ScheduledLayer]) -> str:
    letters = "".join(role_letter(layer.role) for layer in layers)
    for size in range(1, len(letters) // 2 + 1):
        num_tiles, rest = divmod(len(letters), size)
        if not rest and letters[:size] * num_tiles == letters:
            return f"{letters[:size]} x{num_tiles}"
    return letters
