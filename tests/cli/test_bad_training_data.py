"""What is wrong with training data is named and counted; what cannot be is one line and exit 2."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr.audio.write import write_audio
from asr.data.manifest import read_manifest
from asr.report.record import RunRecord
from asr.types import Waveform

from .runs import SAMPLE_RATE_HZ, Command, write_recipe

NUM_UTTERANCES = 12


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


def write_source(folder: Path) -> Path:
    """A corpus in LibriSpeech's layout: FLAC of noise, one file without a transcript."""
    for speaker, split in enumerate(("train", "dev", "test")):
        chapter = folder / split / str(speaker) / "1"
        chapter.mkdir(parents=True)
        lines = []
        for index in range(NUM_UTTERANCES + 1):
            generator = np.random.default_rng(index)
            samples = generator.normal(0, 0.1, SAMPLE_RATE_HZ // 2).astype(np.float32)
            write_audio(
                chapter / f"{speaker}-1-{index:04d}.flac", Waveform(samples, SAMPLE_RATE_HZ)
            )
            lines.append(f"{speaker}-1-{index:04d} LOW {'MID' if index % 2 else 'HIGH'}\n")
        (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines[:-1]))
    return folder


@pytest.fixture
def corpus(asr: Command, tmp_path: Path) -> Path:
    source = write_source(tmp_path / "source")
    done = asr("prepare", "folder", source, "--out", "corpus")
    assert done.code == 0
    assert "0-1-0012.flac: audio without transcript" in done.err
    assert done.err.endswith("3 skipped\n")
    return tmp_path / "corpus"


def edit_row(manifest: Path, number: int, **values: object) -> None:
    """Change keys in a line of a manifest."""
    lines = gzip.decompress(manifest.read_bytes()).decode().splitlines()
    lines[number] = json.dumps({**json.loads(lines[number]), **values})
    manifest.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))


@pytest.mark.parametrize(("speaker", "split"), enumerate(["train", "dev", "test"]))
def test_a_row_with_negative_duration_stops_before_anything_is_written(
    asr: Command, corpus: Path, speaker: int, split: str
) -> None:
    recipe = write_recipe(corpus.parent / "tones.yaml", corpus)
    edit_row(corpus / f"{split}.jsonl.gz", 4, duration=-2.0)
    error = asr("train", recipe, "--run-dir", "run").error
    assert f"{split}.jsonl.gz, line 5: cut '{speaker}-1-0004' lasts -2.0 s from 0" in error
    assert not Path("run").exists()


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    """Another recording, whole and readable."""
    write_audio(path, Waveform(np.zeros(SAMPLE_RATE_HZ, np.float32), SAMPLE_RATE_HZ))


def scramble(path: Path) -> None:
    """As many bytes, no audio."""
    path.write_bytes(b"x" * path.stat().st_size)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_in_half, "bytes, "),
        (overwrite, "when prepared"),
        (scramble, "not readable as audio"),
        (Path.unlink, "is gone"),
    ],
)
def test_audio_that_changed_since_is_named_counted_and_left_out(
    asr: Command,
    corpus: Path,
    damage: Callable[[Path], None],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = write_recipe(corpus.parent / "tones.yaml", corpus)
    damaged = [utterance.audio_path for utterance in read_manifest(corpus / "train.jsonl.gz")[3:5]]
    for path in damaged:
        damage(path)
    words = (
        *("train.trainer.max_steps=6", "data.loader.max_unreadable=0.2"),
        *("--run-dir", "run", "--no-latency"),
    )
    assert asr("train", recipe, *words).code == 0
    for path in damaged:
        lines = [line for line in caplog.messages if str(path) in line]
        assert len(lines) == 1, "named once, however many epochs"
        assert lines[0].startswith(f"skipped utterance {path.stem}: ")
        assert said in lines[0]
    record = RunRecord.load(Path("run/record.json"))
    assert record.data["train"].num_skipped == len(damaged)
    assert record.data["test"].num_skipped == 0


def test_nothing_left_to_train_on(asr: Command, corpus: Path) -> None:
    recipe = write_recipe(corpus.parent / "tones.yaml", corpus)
    for utterance in read_manifest(corpus / "train.jsonl.gz"):
        utterance.audio_path.unlink()
    done = asr("train", recipe, "--run-dir", "run", "--no-latency")
    assert done.code == 3
    assert "12 of 12 utterances cannot be read" in done.err.splitlines()[-1]
