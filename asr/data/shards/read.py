"""The utterances of shards, without their audio: that is fetched when its turn comes."""

from __future__ import annotations

import io
from pathlib import Path

from asr.data.manifest import Cut, read_cuts
from asr.data.shards.fetch import fetch
from asr.data.shards.index import FILE_NAME, ShardIndex, parse_index
from asr.data.web import is_url
from asr.types import InputError


def read_index(place: str) -> ShardIndex:
    """The index of the shards in the folder or below the address ``place``."""
    place = place.rstrip("/")
    if not is_url(place) and not Path(place, FILE_NAME).is_file():
        raise InputError(f"{place} holds no shards; `asr prepare shards` writes {FILE_NAME} there")
    return parse_index(fetch(f"{place}/{FILE_NAME}"), place)


def read_shards(place: str) -> list[Cut]:
    """All cuts of the shards at ``place``, a folder or an address; no audio is read.

    The ``source`` of a cut is its shard, ``offset`` and ``num_bytes`` say where in it.

    Raises:
        InputError: no shards there, a file that is missing or damaged, or cuts that do not say
            where their audio lies (shards of another writer).
    """
    place = place.rstrip("/")
    index = read_index(place)
    cuts = []
    for name, shard in zip(index.cuts, index.recording, strict=True):
        with _opened(f"{place}/{name}") as file:
            for cut in read_cuts(file, "", f"{place}/{name}"):
                if cut.offset is None or cut.num_bytes is None:
                    raise InputError(
                        f"{place}/{name}: cut {cut.id!r} does not say where its audio lies; "
                        "`asr prepare shards` writes such shards"
                    )
                cuts.append(cut._replace(source=f"{place}/{shard}"))
    if len(cuts) != index.num_utterances:
        raise InputError(
            f"{place}: {len(cuts):,} utterances, {index.num_utterances:,} by its {FILE_NAME}; "
            "write the shards again"
        )
    return cuts


def _opened(place: str) -> io.BufferedIOBase:
    """The file at a path, or what an address holds."""
    if is_url(place):
        return io.BytesIO(fetch(place))
    try:
        return Path(place).open("rb")
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror})") from error
