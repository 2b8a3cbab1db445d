from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from asr.cli.export import check_error
from asr.errors import InputError
from asr.measure.exported import FLOAT32, INT8, Agreement, ExportRow
from tests.decode.package import save_tiny_package, write_noise
from tests.decode.streams import save_streaming_package
from tests.interop.onnx.cases import small
from tests.measure.analysis.cases import TEXTS, write_data

from .runs import Command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model", small())


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_from_the_model_to_a_transcript(asr: Command, model: Path, tmp_path: Path) -> None:
    data, out = write_data(tmp_path), tmp_path / "new" / "tiny.onnx"
    audio = [write_noise(tmp_path / "long.flac", 33.0), write_noise(tmp_path / "b.wav", 1, 44_100)]
    words: list[str | Path] = ["export", "--model", model, "--out", out, "--int8"]
    words += ["--data", data, *audio, "--lengths", "0.5", "2", "--repeats", "1"]
    done = asr(*words, "--json", tmp_path / "rows.json")
    assert done.code == 0, done.err
    head, _, *lines = done.out.splitlines()
    assert head.split()[:2] == ["program", "MiB"]
    assert [line[:10] for line in lines[:4]] == [
        *("torch fp32", "torch int8", "onnx fp32 ", "onnx int8 ")
    ]
    torch_row, torch8_row, float_row, int8_row = json.loads((tmp_path / "rows.json").read_text())
    assert torch_row["encoder_error"] == {"largest": 0.0, "relative": 0.0}
    assert 0 < float_row["encoder_error"]["relative"] < 1e-4
    assert 1e-4 < int8_row["encoder_error"]["relative"] < 0.1
    assert 1e-4 < torch8_row["encoder_error"]["relative"] < 0.1
    assert torch8_row["size_mib"] < 0.6 * torch_row["size_mib"]
    assert int8_row["size_mib"] == out.stat().st_size / 2**20 < float_row["size_mib"]
    assert float_row["wer"] == torch_row["wer"]
    assert float_row["words_changed"] == 0.0
    for row in (torch_row, torch8_row, float_row, int8_row):
        assert row["wer"]["test"]["words"] == sum(len(text.split()) for text in TEXTS)
        assert row["wer"].keys() == {"test"}  # audio files have no transcripts
        assert row["latency_ms"].keys() == row["time_vs_torch"].keys() == {"0.5", "2"}
        assert row["reuse"] == "probs"
        assert {"hardware", "versions", "run", "file"} < row.keys()
    assert torch_row["time_vs_torch"] == {"0.5": 1.0, "2": 1.0}

    for kind in ("text", "json"):
        words = ["transcribe", *audio, "--format", kind, "--chunk", "10"]
        found, expected = asr(*words, "--model", out), asr(*words, "--model", model)
        assert (found.code, found.err) == (0, "")
        if kind == "json":
            rows, originals = (
                [json.loads(line) for line in one.out.splitlines()] for one in (found, expected)
            )
            for row, original in zip(rows, originals, strict=True):
                assert row.keys() == original.keys()
                assert row["duration_s"] == original["duration_s"]
                assert row["words"][-1]["end_s"] > original["duration_s"] - 5


def test_a_stream_from_the_model_to_live_text(asr: Command, tmp_path: Path) -> None:
    model = save_streaming_package(tmp_path / "model", num_layers=2)
    out = tmp_path / "stream.onnx"
    words = ("export", "--model", model, "--out", out, "--stream", "200", "--repeats", "1")
    done = asr(*words, "--json", "-")
    assert done.code == 0, done.err
    assert [row["runtime"] for row in json.loads(done.out)] == ["torch fp32", "onnx fp32"]
    audio = write_noise(tmp_path / "a.wav", 3.0)
    texts = []
    for one in (out, model):
        read = asr("transcribe", audio, "--model", one, "--stream", "200", "--live")
        assert (read.code, read.err) == (0, "")
        texts.append(read.out)
    assert texts[0] == texts[1]
    whole = asr("transcribe", audio, "--model", out)
    assert whole.code == 2
    assert "holds a stream: transcribe with --stream 200" in whole.err


@pytest.mark.parametrize(("off", "kept"), [(1e-5, True), (1e-2, False), (float("nan"), False)])
def test_a_graph_that_is_off_is_not_kept(tmp_path: Path, off: float, kept: bool) -> None:
    expected_SD, found = torch.randn(20, 4), {name: Agreement() for name in (FLOAT32, INT8)}
    found[FLOAT32].add_frames(expected_SD * (1 + off), expected_SD)
    found[INT8].add_frames(expected_SD * 1.1, expected_SD)  # need not be as near
    rows = [
        ExportRow(runtime=name, size_mib=1.0, agreement=one, timings={})
        for name, one in found.items()
    ]
    out = tmp_path / "tiny.onnx"
    out.touch()
    said = nullcontext() if kept else pytest.raises(InputError, match="its frames differ from")
    with said:
        check_error(rows, out)
    assert out.exists() is kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "model.bin"), "--out model.bin: allowed: a file name that ends in .onnx"),
        (("--out", "a.onnx", "--data", "none.wav"), "none.wav"),
        (("--out", "a.onnx", "--data", "none.jsonl.gz"), "none.jsonl.gz"),
        (("--out", "a.onnx", "--json", "."), ". is a folder; name a file for --json"),
        (("--out", "a.onnx", "--repeats", "0"), "'0': allowed: a whole number from 1"),
    ],
)
def test_bad_input(
    asr: Command,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in asr("export", "--model", model, *words).error
    assert not list(tmp_path.iterdir())


def test_without_the_extra(
    asr: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.errors.find_spec", lambda name: None)
    error = asr("export", "--model", model, "--out", tmp_path / "a.onnx").error
    assert "asr export needs onnxruntime, onnx, onnxscript; install it by: pip install" in error
