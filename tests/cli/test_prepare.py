from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from asr.data.manifest import read_manifest
from tests.decode.package import write_noise

from .runs import Command, asr_process, files_in


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """LibriSpeech layout with two splits and an utterance without a transcript."""
    folder = tmp_path / "speech"
    for split, speaker in (("train", "1"), ("train", "2"), ("test", "3")):
        chapter = folder / split / speaker / "9"
        for name, suffix in (("0001", "flac"), ("0002", "wav")):
            write_noise(chapter / f"{speaker}-9-{name}.{suffix}", 0.5)
        lines = [f"{speaker}-9-000{number} UTTERANCE {speaker}" for number in (1, 2)]
        (chapter / f"{speaker}-9.trans.txt").write_text("\n".join(lines) + "\n")
    write_noise(folder / "test" / "3" / "9" / "3-9-0003.wav", 0.5)
    return folder


def test_a_folder_becomes_one_manifest_a_split(asr: Command, speech: Path) -> None:
    done = asr("prepare", "folder", speech)
    assert (done.code, done.out) == (0, "")
    out = Path("data/speech")
    assert {path.name for path in out.iterdir()} == {
        *("train.jsonl.gz", "test.jsonl.gz", "summary.json", "summary.html")
    }
    train = list(read_manifest(out / "train.jsonl.gz"))
    assert [utterance.text for utterance in train] == ["UTTERANCE 1"] * 2 + ["UTTERANCE 2"] * 2
    assert all(utterance.audio_path.is_file() for utterance in train)
    assert "train: 4 utterances" in done.err
    assert "3-9-0003.wav: audio without transcript" in done.err
    assert len(json.loads((out / "summary.json").read_text())["skipped"]) == 1


def test_one_split_only(asr: Command, speech: Path, tmp_path: Path) -> None:
    done = asr("prepare", "folder", speech, "--split", "test", "--out", "out", "--jobs", "1")
    assert done.code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("test.jsonl.gz", "summary.json", "summary.html")
    }
    error = asr("prepare", "folder", speech, "--split", "dev", "--out", "new").error
    assert "has no split 'dev'; it has test, train" in error
    assert not Path("new").exists()


def test_preparing_again_gives_the_same_bytes(asr: Command, speech: Path, tmp_path: Path) -> None:
    assert asr("prepare", "folder", speech, "--jobs", "2").code == 0
    before = files_in(tmp_path / "data")
    assert asr("prepare", "folder", speech, "--jobs", "1").code == 0
    assert files_in(tmp_path / "data") == before


def test_a_table_with_audio_of_any_format(asr: Command, tmp_path: Path) -> None:
    write_noise(tmp_path / "audio" / "a.flac", 0.5, 44_100)
    write_noise(tmp_path / "audio" / "b" / "b.wav", 0.7, 8_000)
    table = tmp_path / "words.jsonl"
    rows = [
        {"audio": "a.flac", "text": "one", "split": "train"},
        {"path": "b/b.wav", "text": "two", "split": "test"},
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert asr("prepare", "folder", "audio", "--transcripts", table, "--out", "m").code == 0
    (utterance,) = read_manifest("m/train.jsonl.gz")
    assert (utterance.text, utterance.duration_s) == ("one", 0.5)
    (utterance,) = read_manifest("m/test.jsonl.gz")
    assert utterance.audio_path == tmp_path / "audio" / "b" / "b.wav"


@pytest.mark.skipif(find_spec("espeakng_loader") is None, reason="needs the synthetic extra")
def test_a_small_synthetic_corpus(tmp_path: Path) -> None:
    counts = ("--num-train", "6", "--num-dev", "2", "--num-test", "2")
    words = ["prepare", "synthetic", *counts, "--jobs", "1"]
    done = asr_process(words, tmp_path)
    assert (done.code, done.out) == (0, "")
    folder = tmp_path / "data" / "synthetic"
    sizes = {path.name: len(read_manifest(path)) for path in sorted(folder.glob("*.jsonl.gz"))}
    assert sizes == {
        "dev.jsonl.gz": 2, "test-accents.jsonl.gz": 2, "test.jsonl.gz": 2, "train.jsonl.gz": 6
    }  # fmt: skip
    before = files_in(folder)
    again = asr_process(words, tmp_path)
    assert "data/synthetic is complete" in again.err
    assert files_in(folder) == before
    other = asr_process([*words, "--seed", "1"], tmp_path)
    assert "data/synthetic holds another synthetic corpus" in other.error
    assert files_in(folder) == before
