from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.formats.nemo import read_nemo_manifests
from asr.data.prepare import RawUtterance, prepare_utterances
from asr.errors import InputError

Tone = Callable[..., Path]


def silent(_: str) -> None:
    """No progress."""


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_rows_are_named_by_their_audio(tmp_path: Path, write_tone: Tone) -> None:
    write_tone(tmp_path / "wav" / "ann" / "a.wav", 2.0)
    absolute = str(write_tone(tmp_path / "wav" / "bob" / "b.flac"))
    train = write_rows(
        tmp_path / "train.json",
        {"audio_filepath": "wav/ann/a.wav", "duration": 0.5, "text": "one"},
        {"audio_filepath": "wav/ann/a.wav", "duration": 0.5, "text": "two", "offset": 1.25},
    )
    dev = write_rows(
        tmp_path / "dev.jsonl",
        {"audio_filepath": absolute, "duration": 0.5, "text": "three", "speaker": 7, "lang": "en"},
    )
    rows = [row for row in read_nemo_manifests([train, dev]) if isinstance(row, RawUtterance)]
    assert [(row.utterance_id, row.split, row.speaker, row.start_s) for row in rows] == [
        ("ann/a", "train", None, 0.0),
        ("ann/a@1.25", "train", None, 1.25),
        ("bob/b", "dev", "7", 0.0),
    ]
    summary = prepare_utterances(rows, tmp_path / "out", source="n", settings={}, report=silent)
    assert {name: one.duration_s for name, one in summary.splits.items()} == {
        "dev": 0.5,
        "train": 1.0,
    }


def test_the_name_0_is_one_and_other_splits_may_have_it(tmp_path: Path, write_tone: Tone) -> None:
    files = []
    for split in ("train", "dev"):
        write_tone(tmp_path / f"{split}.wav")
        row = {"id": 0, "audio_filepath": f"{split}.wav", "duration": 0.5, "text": "one"}
        files.append(write_rows(tmp_path / f"{split}.json", row))
    rows = [row for row in read_nemo_manifests(files) if isinstance(row, RawUtterance)]
    assert [(row.split, row.utterance_id) for row in rows] == [("train", "0"), ("dev", "0")]
    summary = prepare_utterances(rows, tmp_path / "out", source="n", settings={}, report=silent)
    assert sorted(summary.splits) == ["dev", "train"]


def test_bad_rows_are_named_counted_and_skipped(tmp_path: Path, write_tone: Tone) -> None:
    write_tone(tmp_path / "a.wav")
    good = {"audio_filepath": "a.wav", "duration": 0.5, "text": "one"}
    file = write_rows(
        tmp_path / "train.json",
        good,
        {**good, "id": "negative", "duration": -1},
        {**good, "id": "endless", "duration": float("inf")},
        {**good, "id": "early", "offset": -0.5},
        {**good, "id": "late", "offset": 9},
        {**good, "id": "missing", "audio_filepath": "b.wav"},
        {**good, "id": "a"},
        {**good, "id": "empty", "text": " "},
        {**good, "duration": "long"},
        {**good, "duration": float("nan")},
        {"audio_filepath": "a.wav", "duration": 1},
        {"text": "no audio"},
        ["not an object"],
    )
    summary = prepare_utterances(
        read_nemo_manifests([file]), tmp_path / "out", source="n", settings={}, report=silent
    )
    assert summary.splits["train"].num_utterances == 1
    reasons = [row.reason for row in sorted(summary.skipped, key=lambda row: _line(row.where))]
    expected = [
        "negative lasts -1 s; more than 0 is allowed",
        "duration is inf; a number is expected",
        "early starts at -0.5 s; 0 or more is allowed",
        "no audio from 9 s",
        "no such audio file",
        "duplicated id a, first in",
        "empty transcript of empty",
        "duration is 'long'; a number is expected",
        "duration is nan; a number is expected",
        "no text",
        "no audio_filepath",
        "not a JSON object",
    ]
    assert len(reasons) == len(expected)
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True))
    with pytest.raises(InputError, match=r"12 bad rows in n \(strict\), first: .*, line \d+"):
        prepare_utterances(
            read_nemo_manifests([file]),
            tmp_path / "strict",
            source="n",
            settings={},
            strict=True,
            report=silent,
        )


def _line(where: str) -> int:
    return int(where.rpartition(" ")[2])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "empty.json").touch()
    for files, message in (
        (["empty.json"], "is empty"),
        (["none.json"], "cannot be read"),
        (["more"], "cannot be read"),
        (["empty.json", "more/empty.json"], "two files are named empty"),
    ):
        with pytest.raises(InputError, match=message):
            read_nemo_manifests([tmp_path / file for file in files])
