"""A resolved schedule as a short text."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.record import ScheduledLayer

_LETTERS = {"alone": "A", "lead": "L", "follow": "F"}


def schedule_text(layers: Sequence[ScheduledLayer]) -> str:
    """One letter a layer, the shortest repeated unit first: "LFFF x4", "A x16", "LFFA"."""
    letters = "".join(_LETTERS.get(layer.role, "?") for layer in layers)
    for size in range(1, len(letters) // 2 + 1):
        num_tiles, rest = divmod(len(letters), size)
        if not rest and letters[:size] * num_tiles == letters:
            return f"{letters[:size]} x{num_tiles}"
    return letters
