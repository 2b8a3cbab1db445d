"""Kaldi's data folders: ``wav.scp``, ``text``, ``utt2spk``; ``segments`` for parts of files.

A line is a key and a value, separated by spaces or tabs. ``wav.scp`` may hold commands (``flac -cd
a.flac |``) and positions in archives (``raw.ark:17``): these are never run or read here, but
reported and skipped.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.data.formats.export import ExportedUtterance
from asr.data.prepare import RawUtterance
from asr.data.summary import Skipped
from asr.data.transcripts import find_audio
from asr.errors import InputError
from asr.files import key_and_value, read_lines, write_text

_ARCHIVE = re.compile(r"\.ark:\d+$")


@dataclass(frozen=True, slots=True)
class _Line:
    where: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class _Segment:
    """A line of ``segments``; ``duration_s`` None: to the end; ``wrong`` describes an error."""

    recording: str
    start_s: float = 0.0
    duration_s: float | None = None
    wrong: str = ""


def read_kaldi(folders: Sequence[Path]) -> list[RawUtterance | Skipped]:
    """Read the utterances of data folders; each folder is a split, named after it.

    Relative audio paths start at the working directory, as in Kaldi, or else at the folder. A
    speaker with the name of its utterance means that the speaker is unknown, as in Kaldi.
    """
    splits = [folder.resolve().name for folder in folders]
    for split in splits:
        if splits.count(split) > 1:
            raise InputError(f"two folders are named {split}; the name of a folder names its split")
    return [
        utterance
        for folder, split in zip(folders, splits, strict=True)
        for utterance in _utterances(folder, split)
    ]


def write_kaldi(utterances: Iterable[ExportedUtterance], folder: Path) -> None:
    """Write ``wav.scp``, ``text``, ``utt2spk``, ``spk2utt``, and ``segments`` if needed.

    Lines are sorted by their bytes (``LC_ALL=C``). Raises ``InputError`` for a name with a space.
    """
    utterances = list(utterances)
    recordings: dict[Path, str] = {}
    for one in utterances:
        for name in (one.utterance_id, one.speaker or ""):
            if re.search(r"\s", name):
                raise InputError(f"{name!r}: Kaldi's names hold no space; nothing is written")
        recordings.setdefault(one.audio_path, one.utterance_id)
    speakers = {one.utterance_id: one.speaker or one.utterance_id for one in utterances}
    names_of: dict[str, list[str]] = defaultdict(list)
    for name, speaker in sorted(speakers.items(), key=_by_bytes):
        names_of[speaker].append(name)
    files = {
        "wav.scp": {name: str(path) for path, name in recordings.items()},
        "text": {one.utterance_id: one.text for one in utterances},
        "utt2spk": speakers,
        "spk2utt": {speaker: " ".join(names) for speaker, names in names_of.items()},
    }
    if not all(one.is_whole for one in utterances):
        files["segments"] = {
            one.utterance_id: f"{recordings[one.audio_path]} {one.start_s:.6g} "
            f"{one.start_s + one.duration_s:.6g}"
            for one in utterances
        }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "segments").unlink(missing_ok=True)
    for name, values in files.items():
        lines = (f"{key} {value}\n" for key, value in sorted(values.items(), key=_by_bytes))
        write_text(folder / name, "".join(lines))


def _by_bytes(item: tuple[str, str]) -> bytes:
    return item[0].encode()


def _utterances(folder: Path, split: str) -> Iterator[RawUtterance | Skipped]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; Kaldi's have wav.scp and text in them")
    audio = {line.key: line for line in _table(folder / "wav.scp")}
    speakers = {line.key: line.value for line in _table(folder / "utt2spk", needed=False)}
    segments = {line.key: _segment(line) for line in _table(folder / "segments", needed=False)}
    spoken = set()
    for line in _table(folder / "text"):
        segment = segments.get(line.key) if segments else _Segment(line.key)
        source = audio.get(segment.recording) if segment else None
        if segment and source:
            spoken.add(segment.recording)
        yield _utterance(line, segment, source, speakers, split)
    for key, line in audio.items():
        if key not in spoken:
            yield Skipped(line.where, f"audio {key} without transcript")


def _utterance(
    line: _Line,
    segment: _Segment | None,
    audio: _Line | None,
    speakers: Mapping[str, str],
    split: str,
) -> RawUtterance | Skipped:
    reason = ""
    if segment is None:
        reason = f"no segment of {line.key}"
    elif segment.wrong:
        reason = f"{line.key}: {segment.wrong}"
    elif audio is None:
        reason = f"no audio {segment.recording} in wav.scp"
    elif audio.value.endswith("|"):
        reason = (
            f"{line.key}: wav.scp has a command, which is not run; make it a file: {audio.value}"
        )
    elif _ARCHIVE.search(audio.value):
        reason = f"{line.key}: wav.scp has a place in an archive; make it a file: {audio.value}"
    if reason:
        return Skipped(line.where, reason)
    assert segment is not None
    assert audio is not None
    speaker = speakers.get(line.key)
    folder = Path(audio.where.rpartition(", line ")[0]).parent
    return RawUtterance(
        line.where,
        line.key,
        find_audio(audio.value, (Path(), folder)) or folder / audio.value,
        line.value,
        None if speaker in (line.key, "") else speaker,
        split,
        segment.start_s,
        segment.duration_s,
    )


def _segment(line: _Line) -> _Segment:
    recording, times = key_and_value(line.value)
    try:
        start_s, end_s = (float(time) for time in times.split()[:2])
    except ValueError:
        return _Segment("", wrong="its segment is not: recording, start, end in seconds")
    if end_s == -1:
        return _Segment(recording, start_s)
    return _Segment(recording, start_s, round(end_s - start_s, 9))


def _table(path: Path, *, needed: bool = True) -> list[_Line]:
    """Read the lines of a file; keys may repeat."""
    if not path.is_file():
        if needed:
            raise InputError(f"{path} is missing; Kaldi's data folders have wav.scp and text")
        return []
    lines = []
    for where, line in read_lines(path):
        key, value = key_and_value(line)
        lines.append(_Line(where, key, value))
    return lines
