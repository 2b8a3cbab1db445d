"""`asr transcribe --stream` and `--live`, and `asr evaluate --stream`."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.data.manifest import CheckedUtterance, write_manifest
from tests.decode.package import noise, save_tiny_package, write_noise
from tests.decode.streams import save_streaming_package

from .runs import SAMPLE_RATE_HZ, Command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_streaming_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_files_heard_as_streams(asr: Command, model: Path, tmp_path: Path) -> None:
    paths = [write_noise(tmp_path / f"{name}.wav", 3.0) for name in "ab"]
    done = asr("transcribe", *paths, "--model", model, "--stream", "80", "--format", "json")
    assert (done.code, done.err) == (0, "")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [Path(one["audio_path"]).name for one in found] == ["a.wav", "b.wav"]
    assert all(one["words"] for one in found)


def test_a_live_file_prints_what_the_file_has(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 5.0)
    words = ("transcribe", path, "--model", model, "--stream", "200")
    whole = asr(*words)
    live = asr(*words, "--live")
    assert (live.code, live.err) == (0, "")
    assert " ".join(live.out.split()) == " ".join(whole.out.split())
    events = [
        json.loads(line) for line in asr(*words, "--live", "--format", "json").out.splitlines()
    ]
    assert [one["text"] for one in events if one["is_final"]] == live.out.splitlines()
    assert {one["is_final"] for one in events} == {True, False}


def raw(duration_s: float) -> bytes:
    """Noise as 16 bit samples."""
    samples: bytes = (
        (noise(duration_s).samples * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2").tobytes()
    )
    return samples


class Pipe(io.BytesIO):
    """Standard input that gives odd numbers of bytes."""

    def read1(self, size: int | None = -1) -> bytes:
        return self.read(min(size or 0, 333))


def test_raw_samples_of_standard_input(
    asr: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        buffer = Pipe(raw(4.0))

    monkeypatch.setattr(sys, "stdin", Stdin)
    words = ("--model", model, "--stream", "200", "--live")
    done = asr("transcribe", "-", *words, "--raw", str(SAMPLE_RATE_HZ))
    assert (done.code, done.err) == (0, "")
    path = tmp_path / "a.wav"
    soundfile.write(path, np.frombuffer(raw(4.0), "<i2"), SAMPLE_RATE_HZ)
    assert done.out == asr("transcribe", path, *words).out


def test_a_file_at_its_pace(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 1.0)
    begun_s = time.monotonic()
    done = asr("transcribe", path, "--model", model, "--stream", "200", "--live", "--pace")
    assert done.code == 0
    assert time.monotonic() - begun_s >= 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--live"], "--live needs --stream MS"),
        (["--raw", "8000", "--stream", "80"], "--raw needs --live"),
        (["--pace", "--stream", "80"], "--pace needs --live"),
        (
            ["--stream", "80", "--live", "--format", "srt"],
            "--live --format srt: allowed: text, json",
        ),
        (["--stream", "80", "--live", "b.wav"], "--live prints the text of one recording"),
        (["--stream", "80", "--live", "--raw", "8000"], "--raw is for standard input"),
        (["--stream", "80", "--chunk", "20"], "--chunk has no effect with --stream"),
        (["--stream", "80", "--no-vad"], "--vad has no effect with --stream"),
        (["--stream", "80", "--silence", "off"], "--silence has no effect with --stream"),
        (["--stream", "80", "--live", "--timing"], "--timing has no effect with --live"),
        (["--stream", "80", "--live", "--channels", "split"], "allowed: mix or a number"),
        (["--stream", "90"], "chunks of 90 ms: allowed: multiples of 40 ms"),
        (["--stream", "0"], "argument --stream: '0': allowed: a number above 0"),
        (["--stream", "nan"], "argument --stream: 'nan': allowed: a number above 0"),
        (
            ["--stream", "80", "--live", "--raw", "1"],
            "argument --raw: '1': allowed: a whole number",
        ),
    ],
)
def test_what_cannot_be(
    asr: Command, model: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    path = write_noise(tmp_path / "a.wav", 0.5)
    done = asr("transcribe", path, "--model", model, *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) <= 2


def test_a_live_file_of_one_channel_and_a_damaged_one(
    asr: Command, model: Path, tmp_path: Path
) -> None:
    left, right = (noise(3.0, seed=seed).samples for seed in (1, 2))
    for name, samples in (("both", np.stack([left, right], 1)), ("right", right)):
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    words = ("--model", model, "--stream", "200", "--live")
    one = asr("transcribe", tmp_path / "both.wav", *words, "--channels", "2")
    assert one.code == 0
    assert one.out == asr("transcribe", tmp_path / "right.wav", *words).out
    soundfile.write(tmp_path / "whole.flac", right, SAMPLE_RATE_HZ)
    content = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    damaged = asr("transcribe", tmp_path / "cut.flac", *words)
    assert damaged.code == 0
    assert "warning" in damaged.err
    assert asr("transcribe", tmp_path / "cut.flac", *words, "--strict").code == 2


def test_a_model_that_was_not_trained_in_chunks(asr: Command, tmp_path: Path) -> None:
    other = save_tiny_package(tmp_path / "model")
    path = write_noise(tmp_path / "a.wav", 0.5)
    done = asr("transcribe", path, "--model", other, "--stream", "80")
    assert done.code == 2
    assert "streaming needs a model trained in chunks" in done.err


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    utterances = [
        CheckedUtterance(
            f"test-{index}",
            write_noise(folder / f"{index}.wav", 0.5 + index),
            *(0.0, 0.5 + index, SAMPLE_RATE_HZ, 1, ref, None),
        )
        for index, ref in enumerate(("a cat", "the dog sat"))
    ]
    write_manifest(utterances, folder / "test.jsonl.gz")
    return folder / "test.jsonl.gz"


def test_how_files_are_cut_has_no_effect_on_streams(
    asr: Command, model: Path, manifest: Path
) -> None:
    words = ("evaluate", "--model", model, "--data", manifest, "--lengths", "--chunk", "20")
    done = asr(*words, "--stream", "80")
    assert done.code == 2
    assert "--chunk has no effect with --stream" in done.err
    assert asr(*words, "--stream", "80", "whole").code == 0


def test_a_row_for_every_length_of_a_chunk(
    asr: Command, model: Path, manifest: Path, tmp_path: Path
) -> None:
    done = asr(
        *("evaluate", "--model", model, "--data", manifest, "--lengths", "--json", "-"),
        *("--stream", "80", "200", "whole", "--out", tmp_path / "out"),
    )
    assert done.code == 0
    rows: list[dict[str, Any]] = json.loads(done.out)
    assert [row["run"].split(" ", 1)[1:] for row in rows] == [["80 ms"], ["200 ms"], []]
    assert all(row["wer"]["test"]["words"] == 5 for row in rows)
    assert {path.name for path in (tmp_path / "out").glob("*.jsonl")} == {
        "test.jsonl",
        "test-80-ms.jsonl",
        "test-200-ms.jsonl",
    }
    assert all(f"test{name}: WER" in done.err for name in ("", " 80 ms", " 200 ms"))
