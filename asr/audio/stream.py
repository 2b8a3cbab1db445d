"""What a recording consists of, whatever its header says of its length.

Streaming and crashed recorders leave a header without a length, or with a wrong one, and files of
several recordings are joined by writing one behind another. libsndfile believes the header and
stops behind the first recording. So a file is looked through first, none of its samples decoded,
and each recording in it is given to libsndfile as a virtual file of its own, its header mended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from asr.audio.source import Extent, Piece, Source


@dataclass(frozen=True, slots=True)
class Stream:
    """One recording: a virtual file, and what is known to be missing in it.

    ``present_share`` is below 1, or ``missing_s`` is the number of seconds, where the header
    promises more than there is. ``damage`` says what else is wrong, and ``lost_s`` how many seconds
    of audio are lost by that, where it is known.
    """

    pieces: tuple[Piece, ...]
    present_share: float = 1.0
    missing_s: float = 0.0
    damage: str = ""
    lost_s: float = 0.0


def as_it_is(source: Source, start: int = 0) -> Stream:
    """The bytes from ``start`` to the end, of which nothing is known."""
    return Stream((Extent(start, source.size),))


def patched(start: int, stop: int, patches: Iterable[tuple[int, bytes]]) -> tuple[Piece, ...]:
    """Bytes ``start`` to ``stop``, with other bytes at some places, in rising order."""
    pieces: list[Piece] = []
    for place, patch in patches:
        pieces += [Extent(start, place), patch]
        start = place + len(patch)
    return (*pieces, Extent(start, stop))
