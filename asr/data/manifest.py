"""Manifests: the utterances of a split as lhotse cuts, one JSON object a line, gzipped if ``.gz``.

A cut holds one recording, or a segment of it, and one supervision with the transcript and the
speaker. Audio below the manifest's folder has a relative path, so a prepared corpus can be moved;
other audio has an absolute path.
"""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from asr.data.columns import brief
from asr.errors import InputError
from asr.files import json_object, split_lines, write_bytes

MAX_DURATION_S = 1e7  # of a cut, and where it starts: four months
_MAX_BYTES = 1 << 60  # of a file, and of an offset in it


class Utterance(NamedTuple):
    """One utterance of a manifest, as training reads it; a million take 0.7 GB.

    ``start_s`` and ``duration_s`` are seconds in the recording. The recording is the file
    ``source`` or, with an ``offset``, the ``num_bytes`` bytes of a shard that begin there.
    ``parts`` are the utterances that are read in its place, one after another, with equal pauses
    that fill ``duration_s``; empty for an utterance of a manifest. See `asr.data.joining`.
    """

    utterance_id: str
    start_s: float
    duration_s: float
    text: str
    speaker: str | None
    source: str
    num_bytes: int | None = None
    offset: int | None = None
    parts: tuple[Utterance, ...] = ()

    @property
    def pause_s(self) -> float:
        """Seconds of silence between two ``parts``."""
        silence_s = self.duration_s - sum(part.duration_s for part in self.parts)
        return max(0.0, silence_s) / max(1, len(self.parts) - 1)

    @property
    def audio_path(self) -> Path:
        """The audio file, or the shard that holds it."""
        return Path(self.source)


Utterances: TypeAlias = Sequence[Utterance]
"""The utterances of a split."""


@dataclass(frozen=True, slots=True)
class CheckedUtterance:
    """An utterance whose audio was read and checked, ready to be written to a manifest.

    ``start_s`` and ``duration_s`` are seconds in the audio file; ``speaker`` is None if unknown.
    ``num_bytes`` is the size of the file, to detect later changes; None if unknown. ``labels`` are
    further columns with their values, see `asr.data.labels`.
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
    labels: tuple[tuple[str, str], ...] = ()


def write_manifest(utterances: Sequence[CheckedUtterance], path: str | Path) -> int:
    """Write ``utterances`` in their order and return their number.

    Equal utterances give equal bytes. The file is written whole or not at all.
    """
    write_bytes(path, manifest_bytes(utterances, Path(path)))
    return len(utterances)


def manifest_bytes(utterances: Iterable[CheckedUtterance], path: Path) -> bytes:
    """Return the content of the manifest of ``utterances`` at ``path``."""
    folder = path.parent.resolve()
    lines = (
        json.dumps(
            lhotse_cut(
                utterance, _place(utterance.audio_path, folder), num_bytes=utterance.num_bytes
            ),
            ensure_ascii=False,
        )
        for utterance in utterances
    )
    data = "".join(line + "\n" for line in lines).encode()
    return compress(data) if path.suffix == ".gz" else data


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read all utterances of a manifest (``.jsonl`` or ``.jsonl.gz``), with absolute audio paths.

    Raises:
        InputError: the file is missing, a folder, empty, or not a manifest of transcribed cuts.
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
        utterances = list(read_utterances(file, folder, str(path)))
    if not utterances:
        raise InputError(f"manifest {path} is empty; it needs one utterance a line")
    return utterances


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Switch garbage collection off: it takes a sixth of the reading time and frees nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_utterances(
    file: io.BufferedIOBase | io.BufferedReader, folder: str, name: str
) -> Iterator[Utterance]:
    """Yield the utterances of a manifest, gzipped or not; relative paths start at ``folder``.

    Raises:
        InputError: a line holds no utterance, or one whose name occurred before; the message
            gives the line in ``name``.
    """
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    lines = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
    seen: set[str] = set()
    where = name
    try:
        for where, line in split_lines(lines, name):
            utterance = _parse_utterance(line, folder, where)
            if utterance.utterance_id in seen:
                raise InputError(
                    f"{where}: {brief(utterance.utterance_id)} was there before; names must differ"
                )
            seen.add(utterance.utterance_id)
            yield utterance
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{name} is not a manifest or was cut short: it ends behind {where} ({error})"
        ) from None


def _parse_utterance(line: str, folder: str, where: str) -> Utterance:
    try:
        record = json_object(line)
    except InputError as error:
        raise InputError(
            f"{where}: not a lhotse cut ({error}); `asr prepare` writes such manifests"
        ) from None
    try:
        return _make_utterance(record, folder)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise InputError(
            f"{where}: not a lhotse cut with audio; `asr prepare` writes such manifests"
        ) from None


def _make_utterance(record: dict[str, Any], folder: str) -> Utterance:
    """Return the utterance of a parsed line, with every value checked."""
    if record["type"] != "MonoCut":
        raise ValueError
    spoken = record.get("supervisions") or []
    said = spoken[0] if len(spoken) == 1 else {}
    text, speaker = said.get("text"), said.get("speaker")
    custom = record.get("custom") or {}
    (source,) = record["recording"]["sources"]
    id_, place, start, duration = (
        record["id"],
        source["source"],
        record["start"],
        record["duration"],
    )
    offset, num_bytes = custom.get("offset"), custom.get("num_bytes")
    for key, number in (("start", start), ("duration", duration)):
        if type(number) is not float and type(number) is not int:
            raise InputError(f"{key} is {brief(number)}; a number of seconds is expected")
    if not (0 < duration <= MAX_DURATION_S and 0 <= start <= MAX_DURATION_S):
        raise InputError(
            f"cut {brief(id_)} lasts {brief(duration)} s from {brief(start)} s on; the duration "
            f"must be above 0, the start not below, both at most {MAX_DURATION_S:,.0f}"
        )
    if not isinstance(text, str):
        raise InputError(f"cut {brief(id_)} must have one supervision with a text")
    if not isinstance(id_, str | int) or not isinstance(place, str) or "\0" in place:
        raise InputError(f"id is {brief(id_)}, source {brief(place)}; texts are expected")
    for key, number in (("offset", offset), ("num_bytes", num_bytes)):
        if number is not None and (type(number) is not int or not 0 <= number < _MAX_BYTES):
            raise InputError(f"custom.{key} is {brief(number)}; a number of bytes is expected")
    return Utterance(
        utterance_id=str(id_),
        start_s=float(start),
        duration_s=float(duration),
        text=text,
        speaker=None if speaker is None else sys.intern(str(speaker)),
        source=os.path.join(folder, place),  # noqa: PTH118  a third of the time
        num_bytes=num_bytes,
        offset=offset,
    )


def lhotse_cut(
    utterance: CheckedUtterance, source: str, *, kind: str = "file", **custom: int | None
) -> dict[str, Any]:
    """Return a serialised lhotse MonoCut, whose recording ends where the utterance ends.

    ``kind`` and ``source`` are fields of lhotse's AudioSource; ``custom`` values that are None are
    left out.
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
        **({"custom": dict(utterance.labels)} if utterance.labels else {}),
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
    """Gzip data without time stamp and file name, so that equal data give equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()
