"""What a folder of shards holds: ``shards.json``, which is there when all of them are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from asr.types import InputError

FILE_NAME = "shards.json"


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Names of files below the folder, one of each kind a shard, and what is in all of them.

    ``cuts`` and ``recording`` are the fields that lhotse's ``CutSet.from_shar`` asks for;
    ``sha256`` is of the files of ``cuts``, in their order.
    """

    cuts: tuple[str, ...]
    recording: tuple[str, ...]
    num_utterances: int
    duration_s: float
    sha256: str

    def to_bytes(self) -> bytes:
        """The content of ``shards.json``."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


def parse_index(data: bytes, place: str) -> ShardIndex:
    """The index in ``data``, which was found at ``place``; ``InputError`` where it is none."""
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
            f"{place}/{FILE_NAME}: not an index of shards; `asr prepare shards` writes one"
        ) from None
    names = (*index.cuts, *index.recording)
    if any("/" in name or name.startswith(".") for name in names):
        raise InputError(f"{place}/{FILE_NAME}: names files outside of the folder")
    return index
