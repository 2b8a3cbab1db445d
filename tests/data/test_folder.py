from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr import files
from asr.data.folder import prepare_folder
from asr.data.manifest import read_manifest
from asr.errors import InputError

BAD = {
    "missing": "no such audio file",
    "empty": "the file is empty",
    "renamed": "not readable as audio",
    "zero": "length zero",
    "nan": "NaN or infinite sample",
    "silent": "empty transcript",
    "good": "duplicated id good",
}


def silent(_: str) -> None:
    """No progress."""


@pytest.fixture
def bad_corpus(tmp_path: Path, write_tone: Callable[..., Path]) -> tuple[Path, Path]:
    """One usable utterance, one row of every bad kind, one file that no row names."""
    source = tmp_path / "audio"
    for name in ("good", "silent", "unnamed"):
        write_tone(source / f"{name}.wav")
    (source / "empty.wav").touch()
    (source / "renamed.wav").write_text("this is not audio, it is a shopping list\n" * 20)
    soundfile.write(source / "zero.wav", np.zeros((0, 1)), 16_000)
    broken = np.full(8000, 0.1, dtype=np.float32)
    broken[4000] = np.nan
    soundfile.write(source / "nan.wav", broken, 16_000, subtype="FLOAT")
    names = ("good", "missing", "empty", "renamed", "zero", "nan", "silent", "good")
    table = tmp_path / "table.tsv"
    table.write_text(
        "audio\ttext\n"
        + "".join(f"{name}.wav\t{'.' if name == 'silent' else 'HELLO'}\n" for name in names)
    )
    return source, table


def test_bad_rows_are_named_counted_and_skipped(
    bad_corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    source, table = bad_corpus
    lines: list[str] = []
    summary = prepare_folder(source, tmp_path / "out", transcripts=table, report=lines.append)
    assert summary.num_skipped == len(BAD) + 1
    assert summary.splits["train"].num_utterances == 1
    assert [
        utterance.utterance_id for utterance in read_manifest(tmp_path / "out" / "train.jsonl.gz")
    ] == ["good"]
    for name, reason in BAD.items():
        (line,) = (line for line in lines if reason in line and name in line.split(": ", 2)[2])
        assert str(table) in line
        assert "\n" not in line
    assert f"skipped: {source / 'unnamed.wav'}: audio without transcript" in lines
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(stored["skipped"]) == summary.num_skipped


def test_strict_writes_nothing(bad_corpus: tuple[Path, Path], tmp_path: Path) -> None:
    source, table = bad_corpus
    with pytest.raises(InputError, match=r"8 bad rows .*\(strict\), first: .*line \d+") as error:
        prepare_folder(source, tmp_path / "out", transcripts=table, strict=True, report=silent)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.mkdir()
    (source / "a.wav").touch()
    with pytest.raises(InputError, match="LibriSpeech layout"):
        prepare_folder(source, tmp_path / "out", report=silent)
    (tmp_path / "t.tsv").write_text("audio\ttext\na.wav\thello\n")
    with pytest.raises(InputError, match=r"no usable utterance; 1 skipped, first: .*a\.wav"):
        prepare_folder(source, tmp_path / "out", transcripts=tmp_path / "t.tsv", report=silent)
    with pytest.raises(InputError, match="nowhere is missing"):
        prepare_folder(tmp_path / "nowhere", tmp_path / "out", report=silent)
    assert not (tmp_path / "out").exists()


def test_names_that_are_not_utf8_or_hold_control_characters(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    source = make_librispeech(tmp_path / "corpus", write_tone)
    good = source / "train" / "10" / "1" / "10-1-0000.flac"
    for name in (b"caf\xe9.flac", b"two\nlines\x1b.flac"):
        shutil.copy(good, good.parent / os.fsdecode(name))
    lines: list[str] = []
    summary = prepare_folder(source, tmp_path / "out", report=lines.append)
    assert summary.splits["train"].num_utterances == 6
    folder = good.parent
    assert [line for line in lines if line.startswith("skipped")] == [
        f"skipped: {folder}/caf\\udce9.flac: audio without transcript",
        f"skipped: {folder}/two\\nlines\\x1b.flac: audio without transcript",
    ]
    stored = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert len(stored["skipped"]) == 2


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path, write_tone: Callable[..., Path]) -> None:
    source = make_librispeech(tmp_path / "corpus", write_tone)
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    source.rename(odd)
    with pytest.raises(InputError, match="not a name in UTF-8; rename it"):
        prepare_folder(odd, tmp_path / "out", report=silent)
    assert not (tmp_path / "out").exists()


def test_where_a_manifest_cannot_be_written_none_is(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    source, out = make_librispeech(tmp_path / "corpus", write_tone), tmp_path / "out"
    prepare_folder(source, out, report=silent)
    before = {file: file.read_bytes() for file in out.iterdir()}
    (source / "train" / "10").rename(source / "train" / "12")
    in_the_way = f".{files._digest('train.jsonl.gz')}.{os.getpid()}.partial"
    (out / in_the_way).mkdir()
    with pytest.raises(InputError, match=r"train\.jsonl\.gz cannot be written"):
        prepare_folder(source, out, report=silent)
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def test_ids_are_unique_in_a_split(tmp_path: Path, write_tone: Callable[..., Path]) -> None:
    for split in ("train", "dev"):
        write_tone(tmp_path / "audio" / f"{split}.wav")
    rows = ("0\ttrain.wav\tone\ttrain", "0\tdev.wav\ttwo\tdev", "0\tdev.wav\tthree\tdev")
    table = tmp_path / "t.tsv"
    table.write_text("\n".join(("id\taudio\ttext\tsplit", *rows)))
    summary = prepare_folder(tmp_path / "audio", tmp_path / "out", transcripts=table, report=silent)
    assert {name: split.num_utterances for name, split in summary.splits.items()} == {
        "dev": 1,
        "train": 1,
    }
    assert [str(row) for row in summary.skipped] == [
        f"{table}, line 4: duplicated id 0, first in {table}, line 3"
    ]


def test_a_length_without_a_start_is_that_of_a_whole_file(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    write_tone(tmp_path / "audio" / "talk.wav", 4.0)
    table = tmp_path / "t.jsonl"
    rows = [
        {"id": name, "audio_filepath": "talk.wav", "text": "one", "duration": duration_s}
        for name, duration_s in (("rounded", 3.9), ("a part", 1.5))
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    summary = prepare_folder(tmp_path / "audio", tmp_path / "out", transcripts=table, report=silent)
    assert summary.splits["train"].duration_s == 4.0
    (skipped,) = summary.skipped
    assert "is 4.00 s long, its duration says 1.5 s; a stretch of a file needs its start" in str(
        skipped
    )


def make_librispeech(root: Path, write_tone: Callable[..., Path], suffix: str = ".flac") -> Path:
    for split, speaker in (("train", "10"), ("train", "11"), ("dev", "20")):
        chapter = root / split / speaker / "1"
        names = [f"{speaker}-1-{index:04d}" for index in range(3)]
        for name in names:
            write_tone(chapter / f"{name}{suffix}", sample_rate_hz=8000, channels=2)
        (chapter / f"{speaker}-1.trans.txt").write_text(
            "".join(f"{name} SOME WORDS\n" for name in names)
        )
    return root


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff"])
def test_librispeech_layout_in_any_format(
    tmp_path: Path, suffix: str, write_tone: Callable[..., Path]
) -> None:
    source = make_librispeech(tmp_path / "corpus", write_tone, suffix)
    summary = prepare_folder(source, tmp_path / "out", num_jobs=2, report=silent)
    assert {name: split.num_utterances for name, split in summary.splits.items()} == {
        "dev": 3,
        "train": 6,
    }
    assert summary.num_skipped == 0
    assert summary.splits["train"].num_speakers == 2
    assert summary.splits["train"].num_words == 12
    assert summary.splits["train"].duration_s == pytest.approx(3.0, abs=0.6)
    utterance = next(iter(read_manifest(tmp_path / "out" / "dev.jsonl.gz")))
    assert (utterance.utterance_id, utterance.speaker) == ("20-1-0000", "20")
    assert utterance.text == "SOME WORDS"
    assert utterance.audio_path == source / "dev" / "20" / "1" / f"20-1-0000{suffix}"


def test_two_runs_write_the_same_bytes(tmp_path: Path, write_tone: Callable[..., Path]) -> None:
    source = make_librispeech(tmp_path / "corpus", write_tone)
    for name, num_jobs in (("one", 1), ("two", 3)):
        prepare_folder(source, tmp_path / name, num_jobs=num_jobs, report=silent)
    for file in ("train.jsonl.gz", "dev.jsonl.gz", "summary.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_splits_can_be_picked(tmp_path: Path, write_tone: Callable[..., Path]) -> None:
    source = make_librispeech(tmp_path / "corpus", write_tone)
    summary = prepare_folder(source, tmp_path / "out", splits=["dev"], report=silent)
    assert list(summary.splits) == ["dev"]
    with pytest.raises(InputError, match="no split 'test'; it has dev, train"):
        prepare_folder(source, tmp_path / "out", splits=["test"], report=silent)


def test_rows_without_split_beside_rows_with_one(
    tmp_path: Path, write_tone: Callable[..., Path]
) -> None:
    for name in "ab":
        write_tone(tmp_path / "audio" / f"{name}.wav")
    table = tmp_path / "t.tsv"
    table.write_text("audio\ttext\tsplit\na.wav\tone\tdev\nb.wav\ttwo\t\n")
    summary = prepare_folder(tmp_path / "audio", tmp_path / "out", transcripts=table, report=silent)
    assert [str(row) for row in summary.skipped] == [f"{table}, line 3: names no split"]


def test_a_stretch_of_a_long_file(tmp_path: Path, write_tone: Callable[..., Path]) -> None:
    write_tone(tmp_path / "audio" / "long.wav", 3.0)
    table = tmp_path / "t.jsonl"
    rows = [
        {"audio": "long.wav", "text": "a", "start_s": 0.5, "duration_s": 1.0},
        {"audio": "long.wav", "text": "b", "start_s": 2.5, "duration_s": 9.0},
        {"audio": "long.wav", "text": "c", "start_s": 7.0, "duration_s": 1.0},
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = prepare_folder(tmp_path / "audio", tmp_path / "out", transcripts=table, report=silent)
    utterances = [
        utterance
        for name in summary.splits
        for utterance in read_manifest(tmp_path / "out" / f"{name}.jsonl.gz")
    ]
    assert sorted(
        (utterance.utterance_id, utterance.start_s, utterance.duration_s)
        for utterance in utterances
    ) == [
        ("long@0.5", 0.5, 1.0),
        ("long@2.5", 2.5, 0.5),
    ]
    assert "no audio from 7 s" in summary.skipped[0].reason


def test_real_speech_in_flac_and_opus(tmp_path: Path, speech_dir: Path) -> None:
    expected = {"librispeech": {"test": 20, "test-other": 30}, "speechocean762": {"dev": 40}}
    for corpus, counts in expected.items():
        summary = prepare_folder(
            speech_dir / corpus, tmp_path / corpus, splits=list(counts), report=silent
        )
        assert summary.num_skipped == 0
        assert {name: s.num_utterances for name, s in summary.splits.items()} == counts
        seconds_a_word = [s.duration_s / s.num_words for s in summary.splits.values()]
        assert all(0.2 < rate < 1.5 for rate in seconds_a_word)
