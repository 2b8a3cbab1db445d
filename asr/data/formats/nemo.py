"""NeMo's manifests: a JSON object a line with ``audio_filepath``, ``duration``, ``text``.

``offset`` (seconds) makes it a stretch of the file. ``id`` and ``speaker`` are read where they are
there and written always; NeMo passes over keys that it does not know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr.data.columns import number, time_label
from asr.data.formats.stretch import Stretch
from asr.data.prepare import Row
from asr.data.summary import Skipped
from asr.data.transcripts import find_audio
from asr.files import json_objects, read_lines, write_text
from asr.types import InputError

_UNNAMED = ""  # id of a row until the folder that all audio shares is known


def read_nemo(files: Sequence[Path]) -> list[Row | Skipped]:
    """Rows of manifests; each file is a split by its name without suffix.

    Relative audio paths start at the manifest's folder. An utterance without ``id`` is named by its
    audio, from the folder that all of these files share on, and its offset.
    """
    splits = [file.name.partition(".")[0] for file in files]
    for split in splits:
        if splits.count(split) > 1:
            raise InputError(f"two files are named {split}; the name of a file names its split")
    rows: list[Row | Skipped] = []
    for file, split in zip(files, splits, strict=True):
        found = list(json_objects(read_lines(file)))
        if not found:
            raise InputError(f"{file} is empty; it needs one JSON object a line")
        for where, record in found:
            if isinstance(record, str):
                rows.append(Skipped(where, record))
            else:
                rows.append(_make_row(where, record, split, file.parent))
    return _named(rows)


def write_nemo(stretches: Iterable[Stretch], path: Path) -> None:
    """Write a manifest with absolute audio paths."""
    lines = []
    for one in stretches:
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


def _make_row(where: str, record: Mapping[str, Any], split: str, folder: Path) -> Row | Skipped:
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
    return Row(
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
    """The name under ``key``, which may be a number, 0 too."""
    value = record.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{key} is neither a text nor a whole number")
    return str(value)


def _named(rows: Sequence[Row | Skipped]) -> list[Row | Skipped]:
    parents = {
        os.path.abspath(row.audio_path.parent)  # noqa: PTH100  resolve() would follow links
        for row in rows
        if isinstance(row, Row) and row.audio_path is not None
    }
    shared = os.path.commonpath(parents) if parents else ""
    return [
        replace(row, utterance_id=_name(row, shared))
        if isinstance(row, Row) and row.utterance_id == _UNNAMED
        else row
        for row in rows
    ]


def _name(row: Row, shared: str) -> str:
    assert row.audio_path is not None
    name = Path(os.path.relpath(row.audio_path, shared)).with_suffix("").as_posix()
    return f"{name}@{time_label(row.start_s)}" if row.start_s else name
