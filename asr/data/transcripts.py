"""Where transcripts stand: LibriSpeech's ``*.trans.txt``, or one table beside the audio."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from asr.data.lines import json_objects, read_lines
from asr.data.row import Row
from asr.data.summary import Skipped
from asr.types import InputError

AUDIO_SUFFIXES = frozenset(
    {".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64"}
    | {".sph"}
)
# Names a column may go by; the first is ours.
COLUMNS: Mapping[str, Sequence[str]] = {
    "audio": ("audio", "path", "audio_path", "audio_filepath", "file"),
    "text": ("text", "transcript", "sentence"),
    "id": ("id", "utterance_id"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "split": ("split",),
    "start_s": ("start_s", "start"),
    "duration_s": ("duration_s", "duration"),
}
_TRANS_SUFFIX = ".trans.txt"


def list_files(folder: Path) -> list[Path]:
    """All files below ``folder`` in order of path; links are followed, hidden names left out."""
    files: list[Path] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files)


def read_librispeech(source: Path, files: Sequence[Path]) -> Iterator[Row | Skipped]:
    """Rows of every ``<split>/<speaker>/<chapter>/*.trans.txt`` among ``files``.

    A line is an utterance's name and its transcript; the audio lies beside it under that name,
    whatever its format. Where ``source`` is itself a split, its own name is the split.
    """
    audio: dict[tuple[Path, str], Path] = {}
    for file in files:
        if file.suffix.lower() in AUDIO_SUFFIXES:
            audio.setdefault((file.parent, file.stem), file)
    for file in files:
        if not file.name.endswith(_TRANS_SUFFIX):
            continue
        folders = file.relative_to(source).parts[:-1]
        split = folders[-3] if len(folders) >= 3 else None
        if len(folders) == 2:
            split = source.resolve().name
        speaker = folders[-2] if len(folders) >= 2 else None
        for number, line in enumerate(read_lines(file), 1):
            if line.strip():
                name, _, text = line.strip().partition(" ")
                path = audio.get((file.parent, name))
                yield Row(f"{file}, line {number}", name, path, text, speaker, split)


def read_table(table: Path, source: Path) -> Iterator[Row | Skipped]:
    """Rows of a tab-separated table with a heading line, or of JSON lines (``.jsonl``, ``.json``).

    Columns: ``COLUMNS``; ``audio`` and ``text`` are needed. Relative audio paths start at
    ``source`` or at the table's own folder.
    """
    if not table.is_file():
        raise InputError(f"no transcripts at {table}; give a TSV or JSONL file")
    is_json = table.suffix.lower() in {".jsonl", ".json"}
    lines = read_lines(table)
    if not any(line.strip() for line in lines):
        raise InputError(f"{table} is empty; it needs the columns audio and text")
    rows = _json_rows(table, lines) if is_json else _tsv_rows(table, lines)
    for where, fields in rows:
        if isinstance(fields, str):
            yield Skipped(where, fields)
        else:
            yield _make_row(where, fields, source, table.parent)


def _make_row(where: str, fields: Mapping[str, str], source: Path, beside: Path) -> Row | Skipped:
    missing = [name for name in ("audio", "text") if name not in fields]
    if missing:
        return Skipped(where, f"no {' and no '.join(missing)}")
    try:
        start_s = float(fields.get("start_s") or 0.0)
        duration_s = float(fields["duration_s"]) if "start_s" in fields else None
    except (ValueError, KeyError):
        return Skipped(where, "start_s and duration_s must both be numbers of seconds")
    audio = fields["audio"]
    candidates = (source / audio, beside / audio)
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    name = audio.removeprefix("./").removesuffix(Path(audio).suffix)
    return Row(
        where,
        fields.get("id") or (f"{name}@{start_s:g}" if "start_s" in fields else name),
        path or source / audio,
        fields["text"],
        fields.get("speaker") or None,
        fields.get("split") or None,
        start_s,
        duration_s,
    )


def _tsv_rows(table: Path, lines: Sequence[str]) -> Iterator[tuple[str, dict[str, str] | str]]:
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    heading = [_known_name(name) for name in next(rows)]
    if "audio" not in heading or "text" not in heading:
        raise InputError(
            f"{table}: the first line must name tab-separated columns, audio and text among them "
            f"(optional: id, speaker, split, start_s, duration_s)"
        )
    for number, row in enumerate(rows, 2):
        if len(row) > len(heading):
            yield f"{table}, line {number}", f"{len(row)} columns, the heading has {len(heading)}"
        elif any(row):
            known = {name: value.strip() for name, value in zip(heading, row, strict=False) if name}
            yield f"{table}, line {number}", known


def _json_rows(table: Path, lines: Sequence[str]) -> Iterator[tuple[str, dict[str, str] | str]]:
    for where, record in json_objects(table, lines):
        if isinstance(record, str):
            yield where, record
            continue
        known = {_known_name(key): value for key, value in record.items() if value is not None}
        yield where, {name: str(value).strip() for name, value in known.items() if name}


def _known_name(name: str) -> str:
    """Our name of a column, empty for one we have no use for."""
    name = name.strip().lower()
    return next((ours for ours, names in COLUMNS.items() if name in names), "")
