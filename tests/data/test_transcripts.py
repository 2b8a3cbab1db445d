from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.prepare import RawUtterance
from asr.data.summary import Skipped
from asr.data.transcripts import list_files, read_librispeech, read_table
from asr.errors import InputError


def test_librispeech_names_split_and_speaker(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    chapter = tmp_path / "dev-clean" / "84" / "121123"
    audio = write_tone(chapter / "84-121123-0001.FLAC")
    (chapter / "84-121123.trans.txt").write_text("84-121123-0001 GO ON\n84-121123-0002 GONE\n")
    whole = list(read_librispeech(tmp_path, list_files(tmp_path)))
    inside = list(read_librispeech(audio.parents[2], list_files(audio.parents[2])))
    for rows in (whole, inside):
        first, second = rows
        assert isinstance(first, RawUtterance)
        assert isinstance(second, RawUtterance)
        assert (first.split, first.speaker, first.text) == ("dev-clean", "84", "GO ON")
        assert first.audio_path == audio
        assert second.audio_path is None


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
def test_a_table_in_either_format(
    tmp_path: Path, suffix: str, write_tone: Callable[..., Path]
) -> None:
    write_tone(tmp_path / "clips" / "a.wav")
    fields = {"path": "clips/a.wav", "sentence": 'say "hi"', "client_id": "bo", "age": "40"}
    table = tmp_path / f"table{suffix}"
    if suffix == ".tsv":
        table.write_text("\t".join(fields) + "\n" + "\t".join(fields.values()) + "\n")
    else:
        table.write_text(json.dumps(fields) + "\n")
    (row,) = read_table(table, tmp_path)
    assert isinstance(row, RawUtterance)
    assert (row.utterance_id, row.text, row.speaker) == ("clips/a", 'say "hi"', "bo")
    assert row.audio_path == tmp_path / "clips" / "a.wav"
    assert row.split is None


def test_stretches_of_one_file_have_names_of_their_own(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("audio\ttext\tstart_s\tduration_s\na.wav\tone\t0\t1.5\na.wav\ttwo\t1.5\t2\n")
    rows = list(read_table(table, tmp_path))
    assert [
        (r.utterance_id, r.start_s, r.duration_s) for r in rows if isinstance(r, RawUtterance)
    ] == [
        ("a@0", 0.0, 1.5),
        ("a@1.5", 1.5, 2.0),
    ]


def test_bad_lines_are_skipped_by_number(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"audio": "a.wav"}\nnot json\n[1]\n{"audio": "a.wav", "text": "x"}\n')
    *bad, good = read_table(table, tmp_path)
    assert [str(row) for row in bad] == [
        f"{table}, line 1: no text",
        f"{table}, line 2: not a JSON object: column 1: Expecting value",
        f"{table}, line 3: not a JSON object",
    ]
    assert isinstance(good, RawUtterance)


def test_a_line_with_too_many_columns_is_skipped(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("audio\ttext\na.wav\tone\ttwo\n")
    (row,) = read_table(table, tmp_path)
    assert row == Skipped(f"{table}, line 2", "3 columns, the heading has 2")


def test_what_is_no_text_is_no_transcript(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    lines = [
        '{"audio": "a.wav", "text": ["x"]}',
        '{"audio": "a.wav", "text": "\\ud800"}',
        '{"audio": "a\\u0000.wav", "text": "x"}',
        '{"audio": "a.wav", "text": "x", "id": {}}',
        '{"audio": "a.wav", "text": ' + "[" * 100_000,
        '{"audio": "a.wav", "text": ' + "1" * 5000 + "}",
    ]
    table.write_text("\n".join(lines))
    assert [row.reason for row in read_table(table, tmp_path) if isinstance(row, Skipped)] == [
        "text is a list; a text is expected",
        "key 'text' holds half of a surrogate pair, no character",
        "a\\x00.wav holds a NUL; no file name does",
        "id is an object; a text is expected",
        "not a JSON object: nested too deeply",
        "not a JSON object: a number of thousands of digits",
    ]


def test_columns_without_a_use_are_named_once(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("audio\ttext\tnote\tage\na.wav\tone\t-\t1\nb.wav\ttwo\t-\t2\n")
    said: list[str] = []
    list(read_table(table, tmp_path, said.append))
    assert said == [f"{table}: columns not used: note, age (--labels keeps them)"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no transcripts at"),
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("audio\ttext\n", "a heading and no other line"),
        ("a.wav\thello\n", "must name tab-separated columns"),
        ("audio\ttext\tstart\na.wav\thello\t1\n", "line 1: column start is where"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    table = tmp_path / "t.tsv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        list(read_table(table, tmp_path))
    assert str(table) in str(error.value)


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").touch()
    (tmp_path / "real" / ".hidden.wav").touch()
    (tmp_path / "real" / "circle").symlink_to(tmp_path / "real")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to(tmp_path / "real")
    assert list_files(tmp_path / "source") == [tmp_path / "source" / "link" / "a.wav"]
