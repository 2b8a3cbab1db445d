from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import asr as package
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.errors import InputError
from asr.report.record import RunRecord
from tests.decode.package import save_tiny_package, write_noise
from tests.model.configs import CONFIG, ENCODERS

from .runs import SAMPLE_RATE_HZ, Command, write_corpus, write_recipe

HEAD = CONFIG["head"] | {"intermediate_layers": [0, 1], "intermediate_weight": [0.2, 0.3]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("exits") / "model", CONFIG | {"head": HEAD})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    utterances = [
        CheckedUtterance(
            f"u{index}",
            write_noise(folder / f"u{index}.wav", 0.5 + index),
            *(0.0, 0.5 + index, SAMPLE_RATE_HZ, 1, "A CAT", None),
        )
        for index in range(3)
    ]
    write_manifest(utterances, folder / "test.jsonl.gz")
    return folder / "test.jsonl.gz"


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_transcribe_up_to_an_exit(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 1.0)
    texts = {}
    for exit in (None, 1, 2, 4):
        options = [] if exit is None else ["--exit", str(exit)]
        done = asr("transcribe", path, "--model", model, *options)
        assert (done.code, done.err) == (0, "")
        texts[exit] = done.out
        assert package.load(model, exit=exit).transcribe(path).text == done.out.strip()
    assert texts[4] == texts[None]
    assert len(set(texts.values())) == 3


def test_an_exported_file_ends_at_an_exit(asr: Command, model: Path, tmp_path: Path) -> None:
    path, out = write_noise(tmp_path / "a.wav", 1.0), tmp_path / "two.onnx"
    words = ("export", "--model", model, "--out", out, "--lengths", "--data", path)
    done = asr(*words, "--exit", "2")
    assert done.code == 0, done.err
    expected = asr("transcribe", path, "--model", model, "--exit", "2", "--dtype", "float32")
    assert asr("transcribe", path, "--model", out).out == expected.out
    whole = tmp_path / "four.onnx"
    assert asr("export", "--model", model, "--out", whole, "--lengths", "--data", path).code == 0
    assert out.stat().st_size < 0.8 * whole.stat().st_size
    assert "allowed: 1, 2, 4" in asr(*words, "--exit", "3").error


def test_transcribe_by_entropy_says_how_many_layers(
    asr: Command, model: Path, tmp_path: Path
) -> None:
    path = write_noise(tmp_path / "a.wav", 1.0)
    first = asr("transcribe", path, "--model", model, "--exit", "1").out
    done = asr("transcribe", path, "--model", model, "--exit-entropy", "99")
    assert (done.code, done.out) == (0, first)
    assert done.err == (
        "exits at 99 nats: 1.00 of 4 layers on average of the audio (1: 100%, 2: 0%, 4: 0%)\n"
    )
    transcriber = package.load(model, exit_entropy=99)
    assert transcriber.transcribe(path).text == first.strip()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--exit", "3"], "exit 3: allowed: 1, 2, 4, the numbers of layers after which the ctc"),
        (["--exit", "5"], "exit 5: allowed: 1, 2, 4,"),
        (["--exit", "0"], "argument --exit: 0: allowed: a whole number from 1"),
        (["--exit", "two"], "argument --exit: 'two': allowed: a whole number"),
        (["--exit-entropy", "0"], "argument --exit-entropy: 0: allowed: a number above 0"),
        (["--exit", "1", "--exit-entropy", "1"], "exit and exit_entropy: give one"),
    ],
)
def test_exits_that_are_none(asr: Command, model: Path, options: list[str], error: str) -> None:
    found = asr("transcribe", "a.wav", "--model", model, *options).error
    assert error in found.replace("'0'", "0")


@pytest.mark.parametrize("option", ["--exit", "--exit-entropy"])
def test_a_model_without_exits(asr: Command, plain: Path, data: Path, option: str) -> None:
    for words in (("transcribe", "a.wav"), ("evaluate", "--data", data)):
        error = asr(*words, "--model", plain, option, "2").error
        assert "head.intermediate_layers" in error


def test_exits_are_of_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"exits .* need a model folder"):
        package.load(tmp_path / "model.onnx", exit=2)


def test_exits_by_entropy_are_no_streams(asr: Command, tmp_path: Path) -> None:
    encoder = ENCODERS["conformer"] | {"chunk_frames": [4], "convolution_norm": "layer"}
    features = CONFIG["features"] | {
        "normalize": {"_target_": "asr.features.normalize.RunningNorm", "num_mel_bins": 10}
    }
    changed = {"head": HEAD, "encoder": encoder, "features": features}
    model = save_tiny_package(tmp_path / "model", CONFIG | changed)
    path = write_noise(tmp_path / "a.wav", 1.0)
    words = ("transcribe", path, "--model", model, "--stream", "320")
    assert "for streams give exit N" in asr(*words, "--exit-entropy", "1").error
    whole, first = asr(*words), asr(*words, "--exit", "1")
    assert whole.code == first.code == 0
    assert whole.out != first.out


def test_evaluate_has_a_row_for_each_exit(
    asr: Command, model: Path, data: Path, tmp_path: Path
) -> None:
    words: list[str | Path] = [
        "evaluate",
        "--model",
        model,
        "--data",
        data,
        "--lengths",
        "1",
        "--repeats",
        "1",
    ]
    done = asr(
        *words, *("--exit", "1", "2", "4", "--exit-entropy", "99"),
        *("--json", "-", "--out", tmp_path / "out"),
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    name = model.parent.name
    assert [row["run"] for row in rows] == [
        *(f"{name} exit {exit}" for exit in (1, 2, 4)),
        f"{name} exit at 99 nats",
    ]
    assert [row["schedule"] for row in rows] == ["L", "LF", "LF x2", "LF x2"]
    first, second, last, confident = rows
    assert first["macs"]["1"] < second["macs"]["1"] < last["macs"]["1"]
    assert first["num_params"] < second["num_params"] < last["num_params"]
    for row in (first, second, last):
        assert row["latency_ms"].keys() == {"1"}
        assert row["speedup_vs_none"]["fused"].keys() == {"1"}
    assert confident["latency_ms"] == {}
    assert confident["wer"]["test"]["sub"] == first["wer"]["test"]["sub"]
    assert "1.00 of 4 layers on average" in done.err
    assert re.search(r"^test exit 2: WER ", done.err, re.MULTILINE)
    assert (tmp_path / "out" / "test-exit-2.jsonl").is_file()

    (whole,) = json.loads(asr(*words, "--json", "-").out)
    for key in ("wer", "schedule", "macs", "num_params"):
        assert whole[key] == last[key]
    assert "graphs" not in done.err


def test_compare_has_a_row_for_each_run_and_exit(
    asr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path / "tones.yaml", write_corpus(tmp_path / "corpus", num_train=8))
    words: list[str | Path] = [
        "compare",
        "--exit",
        "1",
        "2",
        "tones.yaml",
        "reuse=none,probs_pairs",
    ]
    settings = ["train.trainer.max_steps=2", "metrics.latency.repeats=1"]
    error = asr(*words, *settings).error
    assert "exit 1: allowed: 2" in error
    assert not (tmp_path / "runs").exists()

    settings += ["head.intermediate_layers=[0]", "head.intermediate_weight=0.3"]
    done = asr(*words, *settings, "--jobs", "1", "--json", "-")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = json.loads(done.out)
    assert [row["run"] for row in rows] == [
        *("none exit 1", "none exit 2"),
        *("probs_pairs exit 1", "probs_pairs exit 2"),
    ]
    assert [row["schedule"] for row in rows] == ["A", "A x2", "L", "LF"]
    for row in rows:
        assert row["wer"]["test"]["words"] == 13
        assert row["latency_ms"].keys() == {"0.5", "1"}
    for path in (tmp_path / "runs" / "tones").iterdir():
        trained = RunRecord.load(path)
        assert len(trained.schedule) == 2
        assert "exit" not in trained.config
        assert (path / "hypotheses" / "test-exit-1.jsonl").is_file()
