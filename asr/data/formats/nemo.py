"""NeMo's manifests: a JSON object a line with ``audio_filepath``, ``duration``, ``text``.

``offset`` (seconds) makes it a segment of the file. ``id`` and ``speaker`` are optional when read
and always written; NeMo ignores keys that it does not know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr.data.columns import number, time_label
from asr.data.formats.export import ExportedUtterance
from asr.data.prepare import RawUtterance
from asr.data.summary import Skipped
from asr.data.transcripts import find_audio
from asr.errors import InputError
from asr.files import json_objects, read_lines, write_text

_UNNAMED = ""  # id of an utterance until the folder shared by all audio is known


def read_nemo_manifests(files: Sequence[Path]) -> list[RawUtterance | Skipped]:
    """Read the utterances of manifests; each file is a split, named after it without suffix.

    Relative audio paths start at the manifest's folder. An utterance without ``id`` is named by its
    audio path, relative to the folder that all these files share, and its offset.
    """
    splits = [file.name.partition(".")[0] for file in files]
    for split in splits:
        if splits.count(split) > 1:
            raise InputError(f"two files are named {split}; the name of a file names its split")
    utterances: list[RawUtterance | Skipped] = []
    for file, split in zip(files, splits, strict=True):
        found = list(json_objects(read_lines(file)))
        if not found:
            raise InputError(f"{file} is empty; it needs one JSON object a line")
        for where, record in found:
            if isinstance(record, str):
                utterances.append(Skipped(where, record))
            else:
                utterances.append(_make_utterance(where, record, split, file.parent))
    return with_ids(utterances)


def write_nemo(utterances: Iterable[ExportedUtterance], path: Path) -> None:
    """Write a manifest with absolute audio paths."""
    lines = []
    for one in utterances:
        record: dict[str, Any] = {
            "audio_filepath": str(one.audio_path),
            "duration": one.duration_s,
            "text": one.text,
            "id": one.utterance_id,
        }
        if not one.is_whole:
            record["offset"] = one.start_s
        if one.speaker is not None:
            record["speaker"] = one.speaker
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(lines))


def _make_utterance(
    where: str, record: Mapping[str, Any], split: str, folder: Path
) -> RawUtterance | Skipped:
    audio, text = record.get("audio_filepath"), record.get("text")
    if not isinstance(audio, str) or not audio:
        return Skipped(where, "no audio_filepath")
    if not isinstance(text, str):
        return Skipped(where, "no text")
    if "\0" in audio:
        return Skipped(where, f"{audio} holds a NUL; no file name does")
    try:
        start_s, duration_s = (_seconds(record, key) for key in ("offset", "duration"))
        utterance_id, speaker = (_name_of(record, key) for key in ("id", "speaker"))
    except InputError as error:
        return Skipped(where, str(error))
    return RawUtterance(
        where,
        utterance_id or _UNNAMED,
        find_audio(audio, (folder,)) or folder / audio,
        text,
        speaker,
        split,
        start_s or 0.0,
        duration_s,
    )


def _seconds(record: Mapping[str, Any], key: str) -> float | None:
    value = record.get(key)
    return None if value is None else number(value, key)


def _name_of(record: Mapping[str, Any], key: str) -> str | None:
    """Return the name under ``key``, which may be a number (0 too)."""
    value = record.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{key} is neither a text nor a whole number")
    return str(value)


def with_ids(utterances: Sequence[RawUtterance | Skipped]) -> list[RawUtterance | Skipped]:
    """Give utterances without an id one from their audio path and start.

    Paths are relative to the folder that all audio files share.
    """
    parents = {
        os.path.abspath(utterance.audio_path.parent)  # noqa: PTH100  resolve() would follow links
        for utterance in utterances
        if isinstance(utterance, RawUtterance) and utterance.audio_path is not None
    }
    shared = os.path.commonpath(parents) if parents else ""
    return [
        replace(utterance, utterance_id=_name(utterance, shared))
        if isinstance(utterance, RawUtterance) and utterance.utterance_id == _UNNAMED
        else utterance
        for utterance in utterances
    ]


def _name(utterance: RawUtterance, shared: str) -> str:
    assert utterance.audio_path is not None
    name = Path(os.path.relpath(utterance.audio_path, shared)).with_suffix("").as_posix()
    return f"{name}@{time_label(utterance.start_s)}" if utterance.start_s else name
