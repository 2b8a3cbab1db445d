"""``asr evaluate --calibrate``: a temperature of confidences, kept in the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import asr as library
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.metrics.confidence import fit_temperature, tempered
from asr.model.package import CONFIDENCE
from asr.report.hypotheses import read_hypotheses
from tests.decode.package import save_tiny_package, write_noise

from .runs import SAMPLE_RATE_HZ, Command

GREEDY = "asr.decode.greedy.GreedyDecoder"


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_package(tmp_path / "model")


@pytest.fixture
def audio(tmp_path: Path) -> list[Path]:
    return [write_noise(tmp_path / f"{index}.wav", duration_s(index)) for index in range(6)]


def duration_s(index: int) -> float:
    return 1.0 + 0.37 * index


def confidences(model: Path, audio: list[Path]) -> list[float]:
    found = library.load(model, dtype="float32").transcribe(list(audio))
    return [word.confidence or 0.0 for one in found for word in one.words]


def manifest(path: Path, audio: list[Path], refs: list[str]) -> Path:
    write_manifest(
        [
            CheckedUtterance(file.stem, file, 0.0, duration_s(at), SAMPLE_RATE_HZ, 1, ref, None)
            for at, (file, ref) in enumerate(zip(audio, refs, strict=True))
        ],
        path,
    )
    return path


def heard(model: Path, audio: list[Path], beam: int | None = None) -> list[str]:
    loaded = library.load(model, dtype="float32", beam=beam)
    texts = [one.text for one in loaded.transcribe(list(audio))]
    assert all(len(text.split()) == 1 for text in texts)
    return texts


def edit(model: Path, **changes: Any) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_output_is_at_the_temperature_that_was_found(
    asr: Command, model: Path, audio: list[Path], tmp_path: Path
) -> None:
    before = confidences(model, audio)
    texts = heard(model, audio)
    dev = manifest(tmp_path / "dev.jsonl.gz", audio, [*texts[:2], *["a cat"] * 4])
    test = manifest(tmp_path / "test.jsonl.gz", audio, [*["a cat"] * 5, texts[5]])
    words = ("evaluate", "--model", model, "--lengths", "--out", tmp_path / "out", "--data")
    done = asr(*words, dev, test, "--calibrate")
    assert done.code == 0
    wanted = fit_temperature(before, [True] * 2 + [False] * 4)
    config = json.loads((model / "config.json").read_text())
    assert config[CONFIDENCE] == {GREEDY: pytest.approx(wanted)}
    assert f"calibrated on dev, 6 words: temperature {wanted:.3g}, kept in" in done.err
    assert "test: confidence at temperature 1: calibration error" in done.err
    assert f"test: confidence at temperature {wanted:.3g}: calibration error" in done.err
    assert "in the surest 90 % of utterances" in done.err

    after = [tempered(one, wanted) for one in before]
    assert abs(after[0] - before[0]) > 0.05
    assert confidences(model, audio) == pytest.approx(after, abs=2e-4)
    scored = read_hypotheses(tmp_path / "out" / "test.jsonl")
    assert [one.confidences[0] for one in scored] == pytest.approx(after, abs=2e-4)
    for name in ("json", "ctm"):
        printed = asr("transcribe", audio[0], "--model", model, "--format", name).out
        given = json.loads(printed)["confidence"] if name == "json" else printed.split()[-1]
        assert float(given) == pytest.approx(after[0], abs=2e-4)

    again = asr(*words, test)  # it is read from the package, and says both
    assert f"test: confidence at temperature {wanted:.3g}: " in again.err
    beam = library.load(model, beam=4).transcribe(audio[0]).words[0].confidence
    assert beam is not None  # another search, which was not calibrated
    assert beam != pytest.approx(after[0], abs=0.02)


def test_searches_are_calibrated_each_for_itself(
    asr: Command, model: Path, audio: list[Path], tmp_path: Path
) -> None:
    for beam in (None, 4):
        texts = heard(model, audio, beam)
        dev = manifest(tmp_path / "dev.jsonl.gz", audio, [*texts[:2], *["a cat"] * 4])
        words = ("evaluate", "--model", model, "--lengths", "--data", dev, "--calibrate")
        assert asr(*words, *([] if beam is None else ["--beam", "4"])).code == 0
    kept = json.loads((model / "config.json").read_text())[CONFIDENCE]
    assert set(kept) == {GREEDY, "asr.decode.beam.BeamDecoder"}
    library.load(model, dtype="float32")  # whole, and as it was otherwise


def test_what_cannot_be_calibrated(
    asr: Command, model: Path, audio: list[Path], tmp_path: Path
) -> None:
    before = (model / "config.json").read_bytes()
    data = manifest(tmp_path / "dev.jsonl.gz", audio, ["a cat"] * 6)
    done = asr("evaluate", "--model", model, "--lengths", "--data", data, "--calibrate")
    assert done.code != 0
    assert "--calibrate on dev: 0 of 6 words are right" in done.error
    assert (model / "config.json").read_bytes() == before


@pytest.mark.parametrize("value", [0, -1, True, "much", None])
def test_a_temperature_that_is_none(
    asr: Command, model: Path, audio: list[Path], value: object
) -> None:
    edit(model, confidence={GREEDY: value})
    done = asr("transcribe", audio[0], "--model", model)
    assert done.code != 0
    assert "confidence=" in done.error
    assert "a number above 0 is expected" in done.error
