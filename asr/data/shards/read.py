"""Reading of corpora in shards, from disk or a server."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import urllib3

from asr.data.manifest import Utterance, read_utterances
from asr.data.web import USER_AGENT, is_url, pool, reason
from asr.errors import InputError


def fetch(place: str, offset: int = 0, num_bytes: int | None = None) -> bytes:
    """Read ``num_bytes`` (None: all) of the file at ``place``, from ``offset`` on.

    A server is asked for only these bytes, on a connection that stays open.

    Raises:
        InputError: nothing is there, it has fewer bytes, or the server keeps failing or does not
            send parts of files.
    """
    data = _download(place, offset, num_bytes) if is_url(place) else _read(place, offset, num_bytes)
    if num_bytes is not None and len(data) != num_bytes:
        raise InputError(
            f"{place}: cut short or changed: {len(data):,} bytes from byte {offset:,} on, "
            f"not {num_bytes:,}"
        )
    return data


def _read(path: str, offset: int, num_bytes: int | None) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  a path is made for every utterance else
            num_left = max(0, os.fstat(file.fileno()).st_size - offset)
            file.seek(min(offset, offset + num_left))
            return file.read(num_left if num_bytes is None else min(num_bytes, num_left))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _download(url: str, offset: int, num_bytes: int | None) -> bytes:
    headers = {"User-Agent": USER_AGENT}
    if num_bytes is not None:
        headers["Range"] = f"bytes={offset}-{offset + num_bytes - 1}"
    try:
        response = pool(url).request("GET", url, headers=headers, preload_content=False)
        try:
            if response.status not in (200, 206):
                raise InputError(f"{url}: {response.status} {response.reason}")
            if num_bytes is not None and response.status != 206:
                raise InputError(f"{url}: the server does not send parts of files (HTTP ranges)")
            return response.read()
        finally:
            response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise InputError(f"{url}: cannot be read ({reason(error)})") from error


SHARDS_FILE = "shards.json"


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The index of a folder of shards: the two files of each shard, and totals.

    ``cuts`` and ``recording`` are the arguments of lhotse's ``CutSet.from_shar``; ``sha256`` is the
    checksum of the ``cuts`` files, in order.
    """

    cuts: tuple[str, ...]
    recording: tuple[str, ...]
    num_utterances: int
    duration_s: float
    sha256: str

    def to_bytes(self) -> bytes:
        """Return the content of ``shards.json``."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


def parse_index(data: bytes, place: str) -> ShardIndex:
    """Parse the index in ``data``, read from ``place``; ``InputError`` if it is not one."""
    try:
        record = json.loads(data)
        index = ShardIndex(
            cuts=tuple(map(str, record["cuts"])),
            recording=tuple(map(str, record["recording"])),
            num_utterances=int(record["num_utterances"]),
            duration_s=float(record["duration_s"]),
            sha256=str(record["sha256"]),
        )
        if len(index.cuts) != len(index.recording):
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise InputError(
            f"{place}/{SHARDS_FILE}: not an index of shards; `asr prepare shards` writes one"
        ) from None
    names = (*index.cuts, *index.recording)
    if any("/" in name or name.startswith(".") for name in names):
        raise InputError(f"{place}/{SHARDS_FILE}: names files outside of the folder")
    return index


def read_index(place: str) -> ShardIndex:
    """Read the index of the shards at ``place``, a folder or a URL."""
    place = place.rstrip("/")
    if not is_url(place) and not Path(place, SHARDS_FILE).is_file():
        raise InputError(
            f"{place} holds no shards; `asr prepare shards` writes {SHARDS_FILE} there"
        )
    return parse_index(fetch(f"{place}/{SHARDS_FILE}"), place)


def read_shards(place: str) -> list[Utterance]:
    """Read all utterances of the shards at ``place``, a folder or a URL, without audio.

    The ``source`` of an utterance is its shard; ``offset`` and ``num_bytes`` locate it there.

    Raises:
        InputError: there are no shards, a file is missing or damaged, or utterances lack the
            location of their audio (shards of another writer).
    """
    place = place.rstrip("/")
    index = read_index(place)
    utterances = []
    for name, shard in zip(index.cuts, index.recording, strict=True):
        with _opened(f"{place}/{name}") as file:
            for utterance in read_utterances(file, "", f"{place}/{name}"):
                if utterance.offset is None or utterance.num_bytes is None:
                    raise InputError(
                        f"{place}/{name}: cut {utterance.utterance_id!r} does not say where its "
                        "audio lies; `asr prepare shards` writes such shards"
                    )
                utterances.append(utterance._replace(source=f"{place}/{shard}"))
    if len(utterances) != index.num_utterances:
        raise InputError(
            f"{place}: {len(utterances):,} utterances, {index.num_utterances:,} by its "
            f"{SHARDS_FILE}; write the shards again"
        )
    return utterances


def _opened(place: str) -> io.BufferedIOBase:
    """Open the file at a path or a URL."""
    if is_url(place):
        return io.BytesIO(fetch(place))
    try:
        return Path(place).open("rb")
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror})") from error
