"""A resolved schedule as a short text."""

from __future__ import annotations

from collections.abc import Sequence

from asr.report.record import ScheduledLayer

_LETTERS = {"alone": "A", "lead": "L", "follow": "F"}


def schedule_text(layers: Sequence[ScheduledLayer]) -> str:
    """One letter a layer, the shortest repeated unit first: "LFFF x4", "A x16", "LFFA".

    Where a follower's leader is not the nearest one before it, followers carry the number of
    their leader: "L0 L1 F0 F1".
    """
    letters = [_LETTERS.get(layer.role.lower(), "?") for layer in layers]
    nearest: int | None = None
    for letter, layer in zip(letters, layers, strict=True):
        if letter == "L":
            nearest = layer.layer
        elif letter == "F" and layer.leader != nearest:
            return _with_leaders(letters, layers)
    return _tiled("".join(letters))


def _with_leaders(letters: Sequence[str], layers: Sequence[ScheduledLayer]) -> str:
    numbers = {"L": lambda layer: layer.layer, "F": lambda layer: layer.leader}
    return " ".join(
        f"{letter}{numbers[letter](layer)}" if letter in numbers else letter
        for letter, layer in zip(letters, layers, strict=True)
    )


def _tiled(letters: str) -> str:
    for size in range(1, len(letters) // 2 + 1):
        num_tiles, rest = divmod(len(letters), size)
        if not rest and letters[:size] * num_tiles == letters:
            return f"{letters[:size]} x{num_tiles}"
    return letters
