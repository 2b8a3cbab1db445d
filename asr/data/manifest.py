"""Manifests: one split of a corpus as lhotse cuts, a JSON line an utterance, gzipped by name.

A cut holds one recording (or a stretch of it) and one supervision with the transcript and the
speaker. Audio below the manifest's folder is stored by relative path, so a prepared corpus can be
moved; other audio by absolute path.
"""

from __future__ import annotations

import gc
import gzip
import io
import json
import math
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from asr.atomic import write_bytes
from asr.types import InputError


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of an audio file and what is said in it.

    ``start_s`` and ``duration_s`` are seconds in the file; ``speaker`` is None where unknown.
    ``num_bytes`` is the size of the file, by which a change is noticed later; None where unknown.
    """

    utterance_id: str
    audio_path: Path
    start_s: float
    duration_s: float
    sample_rate_hz: int
    num_channels: int
    text: str
    speaker: str | None
    num_bytes: int | None = None


class Cut(NamedTuple):
    """What training needs of a lhotse cut, in a tenth of its memory: a million of them take 0.7 GB.

    ``start`` and ``duration`` are seconds in the recording, which is the file ``source`` or, with
    an ``offset``, the ``num_bytes`` bytes from there on in a shard.
    """

    id: str
    start: float
    duration: float
    text: str
    speaker: str | None
    source: str
    num_bytes: int | None = None
    offset: int | None = None


Cuts: TypeAlias = Sequence[Cut]
"""The utterances of a split."""


def write_manifest(utterances: Iterable[Utterance], path: str | Path) -> int:
    """Write ``utterances`` in their order; how many there were.

    Equal utterances give equal bytes. The file appears whole or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    lines = [
        json.dumps(
            cut_record(
                utterance, _place(utterance.audio_path, folder), num_bytes=utterance.num_bytes
            ),
            ensure_ascii=False,
        )
        for utterance in utterances
    ]
    data = "".join(line + "\n" for line in lines).encode()
    write_bytes(path, compress(data) if path.suffix == ".gz" else data)
    return len(lines)


def read_manifest(path: str | Path) -> list[Cut]:
    """All cuts of a manifest (``.jsonl`` or ``.jsonl.gz``), with absolute audio paths.

    Raises ``InputError`` when the file is missing, a folder, empty, or not a manifest of
    transcribed cuts.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(file.name for file in path.glob("*.jsonl*"))
        hint = f", such as {found[0]}" if found else ""
        raise InputError(f"{path} is a folder; name one manifest in it (*.jsonl.gz{hint})")
    if not path.is_file():
        raise InputError(f"no manifest at {path}; `asr prepare` writes one (<split>.jsonl.gz)")
    folder = str(path.parent.resolve())
    with path.open("rb") as file, _no_garbage():
        cuts = [parse_cut(line, folder, where) for line, where in cut_lines(file, str(path))]
    if not cuts:
        raise InputError(f"manifest {path} is empty; it needs one utterance a line")
    return cuts


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Many objects are made and none in a circle: looking for circles is a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def audio_path(cut: Cut) -> Path:
    """The audio file of a cut."""
    return Path(cut.source)


def transcript(cut: Cut) -> str:
    """What is said in a cut, as the manifest has it."""
    return cut.text


def cut_lines(file: io.BufferedIOBase | io.BufferedReader, name: str) -> Iterator[tuple[str, str]]:
    """Lines of a manifest, gzipped or not, that are not empty, and where each stands."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    lines = gzip.GzipFile(fileobj=file) if packed else file
    try:
        for number, line in enumerate(io.BufferedReader(lines), 1):
            if line.strip():
                yield line.decode(), f"{name}, line {number}"
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise InputError(
            f"{name} is not a manifest or was cut short; expected JSON lines, gzipped or not"
        ) from None


def parse_cut(line: str, folder: str, where: str) -> Cut:
    """The cut of a line; relative audio lies in ``folder``, errors name ``where``."""
    try:
        record = json.loads(line)
        if record["type"] != "MonoCut":
            raise ValueError
        spoken = record.get("supervisions") or []
        text = spoken[0].get("text") if len(spoken) == 1 else None
        custom = record.get("custom") or {}
        (source,) = record["recording"]["sources"]
        cut = Cut(
            id=str(record["id"]),
            start=float(record["start"]),
            duration=float(record["duration"]),
            text=text if isinstance(text, str) else "",
            speaker=_interned(spoken[0].get("speaker")) if spoken else None,
            source=os.path.join(folder, source["source"]),  # noqa: PTH118  a third of the time
            num_bytes=custom.get("num_bytes"),
            offset=custom.get("offset"),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise InputError(
            f"{where}: not a lhotse cut with audio; `asr prepare` writes such manifests"
        ) from None
    if not (0 < cut.duration < math.inf and 0 <= cut.start < math.inf):
        raise InputError(
            f"{where}: cut {cut.id!r} lasts {cut.duration:g} s from {cut.start:g} s on; "
            "the duration must be above 0, the start not below"
        )
    if not isinstance(text, str):
        raise InputError(f"{where}: cut {cut.id!r} must have one supervision with a text")
    return cut


def _interned(speaker: str | None) -> str | None:
    return None if speaker is None else sys.intern(str(speaker))


def cut_record(
    utterance: Utterance, source: str, *, kind: str = "file", **custom: int | None
) -> dict[str, Any]:
    """A lhotse MonoCut as it is serialised, of a recording that ends where the cut ends.

    ``kind`` and ``source`` are those of lhotse's AudioSource; ``custom`` values are left out where
    they are None.
    """
    end_s = utterance.start_s + utterance.duration_s
    channels = list(range(utterance.num_channels))
    spoken = {
        "id": utterance.utterance_id,
        "recording_id": utterance.utterance_id,
        "start": 0.0,
        "duration": utterance.duration_s,
        "channel": 0,
        "text": utterance.text,
        **({} if utterance.speaker is None else {"speaker": utterance.speaker}),
    }
    recording = {
        "id": utterance.utterance_id,
        "sources": [{"type": kind, "channels": channels, "source": source}],
        "sampling_rate": utterance.sample_rate_hz,
        "num_samples": round(end_s * utterance.sample_rate_hz),
        "duration": end_s,
        "channel_ids": channels,
    }
    known = {key: value for key, value in custom.items() if value is not None}
    return {
        "id": utterance.utterance_id,
        "start": utterance.start_s,
        "duration": utterance.duration_s,
        "channel": 0,
        "supervisions": [spoken],
        "recording": recording,
        **({"custom": known} if known else {}),
        "type": "MonoCut",
    }


def _place(path: Path, folder: Path) -> str:
    absolute = path.resolve()
    inside = absolute.is_relative_to(folder)
    return (absolute.relative_to(folder) if inside else absolute).as_posix()


def compress(data: bytes) -> bytes:
    """Gzip without a time or a name: equal data give equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()
