from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.audio.write import write_audio
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.decode.beam import BeamDecoder
from asr.head.ctc import CtcHead
from asr.report.hypotheses import read_hypotheses
from asr.report.record import RunRecord
from asr.types import ScoredTokens, Waveform
from tests.decode.package import noise, save_tiny_package, write_noise

from .runs import SAMPLE_RATE_HZ, Command, asr_process

REFS = ("a cat", "the dog sat on the mat", "it's a dog")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests test and other; the audio is noise, for the model is random anyway."""
    folder = tmp_path_factory.mktemp("data")
    for split, refs in (("test", REFS), ("other", REFS[:1])):
        utterances = [
            CheckedUtterance(
                f"{split}-{index}",
                write_noise(folder / f"{split}-{index}.wav", 0.5 + index),
                *(0.0, 0.5 + index, SAMPLE_RATE_HZ, 1, ref.upper(), None),
            )
            for index, ref in enumerate(refs)
        ]
        write_manifest(utterances, folder / f"{split}.jsonl.gz")
    return folder


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def row_of(text: str) -> dict[str, Any]:
    (row,) = json.loads(text)
    assert isinstance(row, dict)
    return row


def test_wer_with_its_counts_and_interval(asr: Command, model: Path, data: Path) -> None:
    done = asr(
        *("evaluate", "--model", model, "--data", data / "test.jsonl.gz", "--json", "-"),
        *("--lengths", "0.5", "1", "--repeats", "1"),
    )
    assert done.code == 0
    row = row_of(done.out)  # and nothing else on stdout
    wer = row["wer"]["test"]
    assert wer.keys() >= {"wer", "low", "high", "sub", "del", "ins", "words", "cer"}
    assert (wer["utterances"], wer["skipped"]) == (3, 0)
    assert wer["words"] == 11
    assert wer["wer"] == pytest.approx(100 * (wer["sub"] + wer["del"] + wer["ins"]) / 11)
    assert wer["low"] <= wer["wer"] <= wer["high"]
    assert row["latency_ms"].keys() == row["macs"].keys() == {"0.5", "1"}
    assert row["speedup_vs_none"]["fused"].keys() == {"0.5", "1"}
    assert row["reuse"] == "probs"
    assert row["schedule"] == "LF x2"
    line = (
        f"test: WER {wer['wer']:.2f} % [{wer['low']:.2f}, {wer['high']:.2f}], "
        f"CER {wer['cer']:.2f} %, {wer['sub']} substitutions, {wer['del']} deletions, "
        f"{wer['ins']} insertions in 11 words of 3 utterances\n"
    )
    assert line in done.err


def test_scored_and_timed_in_the_dtype_asked_for(
    asr: Command, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()
    of_head = CtcHead.forward

    def forward(self: CtcHead, frames_BTD: Tensor) -> Tensor:
        seen.add(frames_BTD.dtype)
        return of_head(self, frames_BTD)

    monkeypatch.setattr(CtcHead, "forward", forward)
    done = asr(
        *("evaluate", "--model", model, "--data", data / "test.jsonl.gz", "--json", "-"),
        *("--lengths", "1", "--repeats", "1", "--dtype", "bfloat16"),
    )
    assert done.code == 0
    assert seen == {torch.bfloat16, torch.float32}
    assert row_of(done.out)["hardware"].endswith("bfloat16")


@pytest.mark.parametrize("dtype", ["int8", "auto"])
def test_what_a_dtype_costs_in_errors(
    asr: Command, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr("asr.encoder.precision.best_dtype", lambda device: "int8")
    words = ("evaluate", "--model", model, "--data", data / "test.jsonl.gz", "--lengths")
    exact = asr(*words, "--json", "-")
    assert "in float32" not in exact.err
    done = asr(*words, "--dtype", dtype, "--json", "-")
    row, original = row_of(done.out), row_of(exact.out)
    assert row["num_params"] == original["num_params"]
    change = row["wer_vs_float32"]["test"]
    assert change["wer_float32"] == original["wer"]["test"]["wer"]
    assert change["difference"] == pytest.approx(
        row["wer"]["test"]["wer"] - change["wer_float32"], abs=1e-9
    )
    assert change["low"] <= change["difference"] <= change["high"]
    assert "wer_vs_float32" not in original
    line = f"test: int8 {change['difference']:+.2f} points ["
    assert line in done.err


def test_alignments_are_kept(asr: Command, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    paths = [data / "test.jsonl.gz", data / "other.jsonl.gz"]
    done = asr("evaluate", "--model", model, "--data", *paths, "--lengths", "--out", out)
    assert done.code == 0
    assert {path.name for path in out.iterdir()} == {
        *("test.jsonl", "other.jsonl", "report.html", "table.md", "table.csv", "rows.json")
    }
    wer = row_of((out / "rows.json").read_text())["wer"]
    assert list(wer) == ["test", "other"]
    scored = read_hypotheses(out / "test.jsonl")
    assert [one.ref for one in scored] == list(REFS)
    for key, sign in (("sub", "sub"), ("del_", "del"), ("ins", "ins")):
        assert sum(getattr(one, key) for one in scored) == wer["test"][sign]
        steps = [step for one in scored for step in one.alignment if step.op == sign]
        assert len(steps) == wer["test"][sign]
    for one in scored:
        assert " ".join(step.ref for step in one.alignment if step.ref) == one.ref
        assert [step.hyp for step in one.alignment if step.hyp] == one.hyp.split()


def test_the_hypotheses_are_what_transcribe_prints(
    asr: Command, model: Path, data: Path, tmp_path: Path
) -> None:
    words = ("--lengths", "--out", tmp_path)
    assert asr("evaluate", "--model", model, "--data", data / "test.jsonl.gz", *words).code == 0
    scored = read_hypotheses(tmp_path / "test.jsonl")
    files = [str(one.audio_path) for one in scored]
    done = asr("transcribe", *files, "--model", model)
    printed = [line.partition("\t")[2].split() for line in done.out.splitlines()]
    assert printed == [one.hyp.split() for one in scored]


def test_silent_audio_has_no_words_unless_asked_for(
    asr: Command, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, Waveform(1e-5 * noise(1.0, SAMPLE_RATE_HZ).samples, SAMPLE_RATE_HZ))
    write_manifest(
        [CheckedUtterance("a", path, 0.0, 1.0, SAMPLE_RATE_HZ, 1, "A CAT", None)],
        tmp_path / "test.jsonl.gz",
    )
    words = ("evaluate", "--model", model, "--data", tmp_path / "test.jsonl.gz", "--lengths")
    for options, is_empty in (((), True), (("--silence", "off"), False)):
        assert asr(*words, *options, "--out", tmp_path / "out").code == 0
        (scored,) = read_hypotheses(tmp_path / "out" / "test.jsonl")
        assert (scored.hyp == "") is is_empty


def test_without_lengths_nothing_is_timed(asr: Command, model: Path, data: Path) -> None:
    done = asr(
        *("evaluate", "--model", model, "--data", data / "other.jsonl.gz"),
        *("--json", "-", "--lengths"),
    )
    row = row_of(done.out)
    assert row["latency_ms"] == {}
    assert row["speedup_vs_none"] == {"fused": {}, "explicit": {}}
    assert row["wer"]["other"]["words"] == 2


def test_the_record_has_the_search(
    asr: Command, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[RunRecord] = []
    monkeypatch.setattr(
        "asr.cli.evaluate.print_table", lambda those, *_, **__: records.extend(those)
    )
    done = asr(
        *("evaluate", "--model", model, "--data", data / "other.jsonl.gz", "--lengths"),
        *("--beam", "4", "--skip-blank", "0.9"),
    )
    assert "beam search: 4 prefixes" in done.err
    (record,) = records
    assert record.config["decode"]["beam"] == 4
    assert record.config["decode"]["skip_blank"] == 0.9


def test_the_time_of_each_part_stands_beside_the_rate(
    asr: Command, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_beam = BeamDecoder.search

    def search(self: BeamDecoder, *given: Tensor) -> list[list[ScoredTokens]]:
        time.sleep(0.3)
        return of_beam(self, *given)

    monkeypatch.setattr(BeamDecoder, "search", search)
    words = ("evaluate", "--model", model, "--data", data / "test.jsonl.gz", "--lengths")
    found = {}
    for beam in ((), ("--beam", "2")):
        done = asr(*words, *beam, "--json", "-")
        found[beam] = row_of(done.out)["decoding_s"]["test"]
        assert "search s" in done.err
        assert found[beam]["audio"] == pytest.approx(0.5 + 1.5 + 2.5)
        assert 0 < found[beam]["features"] < 60
        assert 0 < found[beam]["encoder"] < 60
    greedy, slowed = found.values()
    assert slowed["search"] >= 0.3
    assert slowed["search"] > greedy["search"] > 0


def test_stdout_of_the_process_is_json_alone(model: Path, data: Path) -> None:
    words: list[str | Path] = ["evaluate", "--model", model, "--data", "other.jsonl.gz"]
    words += ["--lengths", "--json", "-"]
    done = asr_process(words, data)
    assert done.code == 0, done.err
    assert row_of(done.out)["wer"]["other"]["words"] == 2
    assert "WER % other" in done.err


def test_what_has_no_score_stands_in_every_output(
    asr: Command, model: Path, data: Path, tmp_path: Path
) -> None:
    utterances = [
        CheckedUtterance(name, path, 0.0, 0.5, SAMPLE_RATE_HZ, 1, "A CAT", None)
        for name, path in (
            ("there", data / "test-0.wav"),
            ("gone", tmp_path / "gone.wav"),
            ("lost", tmp_path / "lost.wav"),
        )
    ]
    write_manifest(utterances, tmp_path / "part.jsonl.gz")
    done = asr(
        *("evaluate", "--model", model, "--data", tmp_path / "part.jsonl.gz", "--lengths"),
        *("--out", tmp_path / "out"),
    )
    assert done.code == 2
    said = "part: 2 of 3 utterances could not be read and have no score"
    assert said in done.err
    assert "(1 of 3 scored)" in done.out
    table, csv, page = (
        (tmp_path / "out" / name).read_text() for name in ("table.md", "table.csv", "report.html")
    )
    assert "(1 of 3 scored)" in table
    assert said in table
    assert said in page
    header, values = (line.split(",") for line in csv.splitlines())
    cells = dict(zip(header, values, strict=False))
    assert (cells["wer_part_utterances"], cells["wer_part_skipped"]) == ("3", "2")
    (row,) = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert (row["wer"]["part"]["utterances"], row["wer"]["part"]["skipped"]) == (3, 2)


def test_error_rates_by_label(asr: Command, model: Path, tmp_path: Path) -> None:
    labels = [("scots",), ("irish",), ("scots",)]
    utterances = [
        CheckedUtterance(
            f"u{index}",
            write_noise(tmp_path / f"u{index}.wav", 0.5),
            *(0.0, 0.5, SAMPLE_RATE_HZ, 1, ref.upper(), f"s{index}"),
            labels=tuple(zip(("accent",), label, strict=True)),
        )
        for index, (ref, label) in enumerate(zip(REFS, labels, strict=True))
    ]
    data = tmp_path / "test.jsonl.gz"
    write_manifest(utterances, data)
    words = ("evaluate", "--model", model, "--data", data, "--lengths")
    row = row_of(asr(*words, "--json", "-", "--by", "accent", "speaker").out)
    whole, groups = row["wer"]["test"], row["wer_by_label"]["test"]
    assert {label: set(values) for label, values in groups.items()} == {
        "accent": {"scots", "irish"},
        "speaker": {"s0", "s1", "s2"},
    }
    for values in groups.values():
        for key in ("words", "sub", "del", "ins"):
            assert sum(one[key] for one in values.values()) == whole[key]
    assert groups["accent"]["scots"]["num_units"] == 2
    printed = asr(*words, "--by", "accent", "--out", tmp_path / "out").out
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (printed, page):
        assert "irish" in text
        assert "Error rates by label" in text
    assert "there are: accent, speaker" in asr(*words, "--by", "room").error


def test_both_sides_are_spelt_as_asked(asr: Command, model: Path, tmp_path: Path) -> None:
    audio = write_noise(tmp_path / "u.wav", 0.5)
    data = tmp_path / "test.jsonl.gz"

    def rate(text: str, *words: str | Path) -> dict[str, Any]:
        write_manifest(
            [CheckedUtterance("u", audio, 0.0, 0.5, SAMPLE_RATE_HZ, 1, text, None)], data
        )
        said = ("evaluate", "--model", model, "--data", data, "--lengths", "--json", "-")
        return dict(row_of(asr(*said, *words).out)["wer"]["test"])

    (heard,) = asr("transcribe", audio, "--model", model).out.splitlines()
    assert heard
    assert rate(heard)["wer"] == 0
    assert "scoring" not in rate(heard)
    spelt = rate(f"{heard.upper()}!", "--scoring", "none")
    assert spelt["wer"] == 100
    assert spelt["scoring"] == "as given"
    assert rate(f"{heard.upper()}!", "--scoring", "basic")["wer"] == 0
    assert rate(f"{{NO / {heard}}}")["wer"] == 0
    glm = tmp_path / "a.glm"
    glm.write_text(f"the cat => {{the cat / {heard}}}\n")
    found = rate("the cat", "--equivalents", glm)
    assert found["wer"] == 0
    assert found["scoring"].startswith("equivalents of a.glm (")
