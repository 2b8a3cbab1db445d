"""Reading transcripts: LibriSpeech's ``*.trans.txt``, or one table beside the audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.audio.open import AUDIO_SUFFIXES
from asr.data.columns import Columns, find_columns, time_label
from asr.data.prepare import RawUtterance
from asr.data.progress import print_progress
from asr.data.summary import Skipped
from asr.errors import InputError, printable
from asr.files import json_objects, key_and_value, read_lines

_TRANS_SUFFIX = ".trans.txt"


def list_files(folder: Path) -> list[Path]:
    """List all files below ``folder``, sorted; follow links, leave out hidden files."""
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


def read_librispeech(source: Path, files: Sequence[Path]) -> Iterator[RawUtterance | Skipped]:
    """Yield the utterances of every ``<split>/<speaker>/<chapter>/*.trans.txt`` in ``files``.

    A line holds the name and the transcript of an utterance; the audio file with that name is
    beside it, in any format. If ``source`` is itself a split, its name is the split.
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
        for where, line in read_lines(file):
            name, text = key_and_value(line)
            yield RawUtterance(where, name, audio.get((file.parent, name)), text, speaker, split)


def read_table(
    table: Path,
    source: Path,
    report: Callable[[str], None] = print_progress,
    labels: Sequence[str] = (),
) -> Iterator[RawUtterance | Skipped]:
    """Yield the utterances of a tab-separated table with a heading line, or of JSON Lines.

    ``find_columns`` recognises the columns: ``audio`` and ``text`` are needed, columns in
    ``labels`` are kept as they are, others are reported. Relative audio paths start at ``source``
    or at the table's own folder.

    Raises:
        InputError: the file is missing or empty, or a label is not a column of its own.
    """
    if not table.is_file():
        raise InputError(f"no transcripts at {table}; give a TSV or JSONL file")
    is_json = table.suffix.lower() in {".jsonl", ".json"}
    rows = _json_rows(table) if is_json else _tsv_rows(table)
    is_empty = True
    unused: dict[str, None] = {}
    for where, columns, fields in rows:
        is_empty = False
        if isinstance(columns, Columns):
            unused.update(dict.fromkeys(columns.unused))
            yield _make_utterance(where, columns, fields, (source, table.parent), labels)
        else:
            yield Skipped(where, columns)
    if is_empty:
        raise InputError(f"{table} is empty; it needs the columns audio and text")
    for label in labels:
        if label not in unused:
            there = ", ".join(map(printable, unused)) or "none"
            raise InputError(
                f"{table}: {printable(label)!r} is no further column, of which there are: {there}"
            )
    idle = [printable(name) for name in unused if name not in labels]
    if idle:
        report(f"{table}: columns not used: {', '.join(idle)} (--labels keeps them)")


def find_audio(name: str, folders: Iterable[Path]) -> Path | None:
    """Find the file called ``name``: an absolute path, or in the first of ``folders`` with it."""
    for folder in folders:
        try:
            path = folder / Path(name).expanduser()
            if path.is_file():
                return path
        except (OSError, RuntimeError):  # a name too long, or the home of an unknown user
            continue
    return None


def _make_utterance(
    where: str,
    columns: Columns,
    fields: Mapping[str, Any],
    folders: Sequence[Path],
    labels: Sequence[str],
) -> RawUtterance | Skipped:
    try:
        audio, text, utterance_id, speaker, split = (
            columns.text_of(fields, name) for name in ("audio", "text", "id", "speaker", "split")
        )
        segment = columns.segment(fields)
    except InputError as error:
        return Skipped(where, str(error))
    missing = [
        name for name in ("audio", "text") if fields.get(columns.names.get(name, "")) is None
    ]
    if missing:
        return Skipped(where, f"no {' and no '.join(missing)}")
    if "\0" in audio:
        return Skipped(where, f"{audio} holds a NUL; no file name does")
    name = audio.removeprefix("./").removesuffix(Path(audio).suffix)
    return RawUtterance(
        where,
        utterance_id or (name if segment.is_whole else f"{name}@{time_label(segment.start_s)}"),
        find_audio(audio, folders) or folders[0] / audio,
        text,
        speaker or None,
        split or None,
        segment.start_s,
        segment.duration_s,
        whole_s=segment.whole_s,
        labels=tuple((name, value) for name in labels if (value := _label(fields.get(name)))),
    )


def _label(value: object) -> str:
    """Return a label's value as text; empty if it is missing or not a single value."""
    return str(value).strip() if isinstance(value, str | int | float) else ""


_Found = Iterator[tuple[str, Columns | str, Mapping[str, Any]]]
"""The place of a row, its columns or what is wrong with it, and its fields."""


def _tsv_rows(table: Path) -> _Found:
    lines = read_lines(table)
    where, heading = next(lines, ("", ""))
    if not where:
        return
    names = [name.strip() for name in heading.split("\t")]
    try:
        columns = find_columns(tuple(names))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if not {"audio", "text"} <= columns.names.keys():
        raise InputError(
            f"{table}: the first line must name tab-separated columns, audio and text among them "
            "(optional: id, speaker, split, and start_s with end_s or duration_s)"
        )
    is_empty = True
    for where, line in lines:
        is_empty = False
        cells = line.split("\t")
        if len(cells) > len(names):
            yield where, f"{len(cells)} columns, the heading has {len(names)}", {}
        else:
            yield where, columns, dict(zip(names, cells, strict=False))
    if is_empty:
        raise InputError(f"{table} has a heading and no other line")


def _json_rows(table: Path) -> _Found:
    for where, record in json_objects(read_lines(table)):
        if isinstance(record, str):
            yield where, record, {}
            continue
        given = {key: value for key, value in record.items() if value is not None}
        try:
            yield where, find_columns(tuple(given)), given
        except InputError as error:
            yield where, str(error), {}
