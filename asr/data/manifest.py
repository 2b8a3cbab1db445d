"""Manifests: one split of a corpus as lhotse cuts, a JSON line an utterance, gzipped by name.

A cut holds one recording (or a stretch of it) and one supervision with the transcript and the
speaker. Audio below the manifest's folder is stored by relative path, so a prepared corpus can be
moved; other audio by absolute path.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.serialization import deserialize_item

from asr.atomic import write_bytes
from asr.types import InputError

Cuts: TypeAlias = CutSet
"""The utterances of a split."""

_NUM_BYTES = "num_bytes"  # key among a cut's custom values


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


def write_manifest(utterances: Iterable[Utterance], path: str | Path) -> int:
    """Write ``utterances`` in their order; how many there were.

    Equal utterances give equal bytes. The file appears whole or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    lines = [
        json.dumps(_make_cut(utterance, folder).to_dict(), ensure_ascii=False)
        for utterance in utterances
    ]
    data = "".join(line + "\n" for line in lines).encode()
    write_bytes(path, _compress(data) if path.suffix == ".gz" else data)
    return len(lines)


def read_manifest(path: str | Path) -> CutSet:
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
    lines = [line for line in _read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"manifest {path} is empty; it needs one utterance a line")
    folder = path.parent.resolve()
    return CutSet.from_cuts(
        _read_cut(line, folder, f"{path}, line {number}") for number, line in enumerate(lines, 1)
    )


def audio_path(cut: MonoCut) -> Path:
    """The audio file of a cut."""
    return Path(cut.recording.sources[0].source)


def audio_num_bytes(cut: MonoCut) -> int | None:
    """The size that a cut's audio file had when the manifest was written, where it is known."""
    size = (cut.custom or {}).get(_NUM_BYTES)
    return size if isinstance(size, int) else None


def transcript(cut: MonoCut) -> str:
    """What is said in a cut, as the manifest has it."""
    return str(cut.supervisions[0].text)


def _make_cut(utterance: Utterance, folder: Path) -> MonoCut:
    absolute = utterance.audio_path.resolve()
    source = absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute
    end_s = utterance.start_s + utterance.duration_s
    recording = Recording(
        id=utterance.utterance_id,
        sources=[
            AudioSource(
                type="file",
                channels=list(range(utterance.num_channels)),
                source=source.as_posix(),
            )
        ],
        sampling_rate=utterance.sample_rate_hz,
        num_samples=round(end_s * utterance.sample_rate_hz),
        duration=end_s,
    )
    supervision = SupervisionSegment(
        id=utterance.utterance_id,
        recording_id=utterance.utterance_id,
        start=0.0,
        duration=utterance.duration_s,
        channel=0,
        text=utterance.text,
        speaker=utterance.speaker,
    )
    return MonoCut(
        id=utterance.utterance_id,
        start=utterance.start_s,
        duration=utterance.duration_s,
        channel=0,
        recording=recording,
        supervisions=[supervision],
        custom=None if utterance.num_bytes is None else {_NUM_BYTES: utterance.num_bytes},
    )


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise InputError(
            f"{path} is not a manifest or was cut short; expected JSON lines, gzipped or not"
        ) from None


def _read_cut(line: str, folder: Path, where: str) -> MonoCut:
    try:
        cut = deserialize_item(json.loads(line))
        assert isinstance(cut, MonoCut)
        assert cut.has_recording
        source = cut.recording.sources[0]
        source.source = str(folder / source.source)  # an absolute source stays as it is
    except Exception:
        raise InputError(
            f"{where}: not a lhotse cut with audio; `asr prepare` writes such manifests"
        ) from None
    if not cut.duration > 0 or not cut.start >= 0:
        raise InputError(
            f"{where}: cut {cut.id!r} lasts {cut.duration:g} s from {cut.start:g} s on; "
            "the duration must be above 0, the start not below"
        )
    if len(cut.supervisions) != 1 or cut.supervisions[0].text is None:
        raise InputError(f"{where}: cut {cut.id!r} must have one supervision with a text")
    return cut


def _compress(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()
