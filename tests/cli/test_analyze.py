from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asr.cli.compose import compose_recipe
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.measure.analysis.propose import EncoderLatency
from asr.model.build import build_encoder
from asr.reuse.suggest import LayerCosts
from tests.decode.package import save_tiny_package
from tests.measure.analysis.cases import TEXTS, write_data
from tests.model.configs import changed

from .runs import SAMPLE_RATE_HZ, Command, asr_process


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def full_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = changed("reuse", {"_target_": "asr.reuse.none.NoReuse"})
    return save_tiny_package(tmp_path_factory.mktemp("full") / "model", config)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("noise"))


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def row_of(text: str) -> dict[str, Any]:
    (row,) = json.loads(text)
    assert isinstance(row, dict)
    return row


def test_a_line_a_layer_and_the_files_asked_for(
    asr: Command, model: Path, data: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "new" / "out", tmp_path / "numbers.json"
    done = asr("analyze", "--model", model, "--data", data, "--out", out, "--json", file)
    assert done.code == 0, done.err
    assert f"reuse probs (LF x2), {len(TEXTS)} utterances of test.jsonl.gz" in done.out
    assert "    1  follow      1.00        1.00      1.00" in done.out
    assert "  [2,2] risk 0.00\n" in done.out
    assert {path.name for path in out.iterdir()} == {*("analysis.json", "analysis.html", "reuse")}
    assert (out / "analysis.json").read_text() == file.read_text()
    row = row_of(file.read_text())
    assert row["run"] == model.parent.name
    assert row["similarity"]["jensen_shannon"][0][1] == pytest.approx(1.0, abs=1e-4)
    assert row["suggested"]["threshold"] == 0.8
    assert "<svg" in (out / "analysis.html").read_text()


def test_a_few_utterances_and_a_threshold(asr: Command, model: Path, data: Path) -> None:
    words = ("--limit", "3", "--threshold", "0", "--json", "-")
    done = asr("analyze", "--model", model, "--data", data, *words)
    row = row_of(done.out)  # and nothing else on stdout
    assert row["counted"]["num_utterances"] == 3
    assert row["suggested"]["greedy"]["groups"] == [4]
    assert row["probe"] is None
    assert "groups above JS similarity 0, greedily: [4]" in done.err


def sharing_saves(*_: object, length_s: float, **__: object) -> EncoderLatency:
    """Costs under which sharing saves time; what a machine measures may say otherwise."""
    return EncoderLatency(length_s=length_s, base_ms=1.0, costs=LayerCosts(2.0, 2.2, 0.5))


def test_a_budget_gives_a_schedule_that_a_recipe_can_pick(
    asr: Command, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.cli.analyze.measure_layer_costs", sharing_saves)
    words = ("--limit", "2", "--length", "1", "--budget", "60000", "--out", tmp_path, "--json", "-")
    done = asr("analyze", "--model", model, "--data", data, *words)
    assert done.code == 0, done.err
    suggested = row_of(done.out)["suggested"]
    assert (suggested["length_s"], suggested["budget_ms"]) == (1.0, 60000.0)
    assert suggested["proposed"] == suggested["best"][-1]  # so large a budget asks for least risk
    assert all(one["latency_ms"] > 0 for one in suggested["best"])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("defaults:\n  - encoder: conformer_s\n  - reuse: suggested\n  - _self_\n")
    groups = suggested["proposed"]["groups"]
    config = compose_recipe(recipe, ["encoder.num_layers=4"])
    assert config["reuse"]["groups"] == groups
    assert len(build_encoder(config).schedule) == sum(groups) == 4


def test_a_budget_that_no_schedule_keeps_is_said_at_once(
    asr: Command, model: Path, data: Path
) -> None:
    done = asr("analyze", "--model", model, "--data", data, "--length", "1", "--budget", "0.001")
    assert done.code == 2
    assert done.out == ""
    assert "no schedule keeps within 0.001 ms at 1 s of audio; the fastest is groups=" in done.err


def test_a_schedule_is_tried_before_it_is_proposed(
    asr: Command, full_model: Path, data: Path, tmp_path: Path
) -> None:
    words = ("--limit", "4", "--try", "heads", "--threshold", "0", "--length", "0.5")
    done = asr("analyze", "--model", full_model, "--data", data, *words, "--out", tmp_path)
    assert done.code == 0, done.err
    assert "trying 6 pairs of leader and follower: about " in done.err
    assert "tried 6 pairs on 4 of 4 utterances" in done.err
    row = row_of((tmp_path / "analysis.json").read_text())
    tried, suggested = row["tried"], row["suggested"]
    assert (tried["method"], tried["num_utterances"]) == ("heads", 4)
    assert [[loss is not None for loss in line] for line in tried["loss"]] == [
        [column > leader for column in range(4)] for leader in range(4)
    ]
    for one in (*tried["best"], tried["proposed"], *suggested["best"], suggested["proposed"]):
        assert one["latency_ms"] > 0
        assert one["added_loss"] is not None
    assert f"to {tried['full_loss']:.3f}, on 4 utterances, by reuse heads" in done.out
    assert "Loss added by each pair" in (tmp_path / "analysis.html").read_text()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("defaults:\n  - encoder: conformer_s\n  - reuse: suggested\n  - _self_\n")
    assert compose_recipe(recipe)["reuse"] == tried["reuse"]
    assert tried["reuse"]["groups"] == tried["proposed"]["groups"]
    assert tried["reuse"]["_target_"] == "asr.reuse.heads.ReuseHeads"
    proposal = f"reuse={tmp_path / 'reuse' / 'suggested.yaml'}"
    assert proposal in done.err
    out = tmp_path / "converted"
    converted = asr("convert", proposal, "--model", full_model, "--out", out)
    assert converted.code == 0, converted.err
    assert json.loads((out / "config.json").read_text())["reuse"] == tried["reuse"]


def test_a_trial_shares_even_where_similarity_would_not(
    asr: Command, full_model: Path, data: Path, tmp_path: Path
) -> None:
    words = ("--model", full_model, "--data", data, "--limit", "4", "--threshold", "1")
    done = asr("analyze", *words, "--out", tmp_path)
    assert done.code == 0, done.err
    assert "Proposal: share nothing. Why: no neighbouring layers have a JS similarity" in done.out
    assert "the proposal shares nothing, so there is no reuse/suggested.yaml" in done.err
    assert not (tmp_path / "reuse" / "suggested.yaml").exists()
    done = asr("analyze", *words, "--try", "probs", "--out", tmp_path)
    assert done.code == 0, done.err
    tried = row_of((tmp_path / "analysis.json").read_text())["tried"]
    assert tried["limit"]["groups"] == [2, 2]
    assert len(tried["proposed"]["groups"]) <= 2
    assert "as cheap as groups of two, since by similarity" in " ".join(done.out.split())
    assert (tmp_path / "reuse" / "suggested.yaml").is_file()


def test_what_cannot_be_tried(asr: Command, model: Path, data: Path) -> None:
    words = ("--model", model, "--data", data)
    assert "only a model trained with reuse=none" in asr("analyze", *words, "--try", "kv").error
    unknown = asr("analyze", *words, "--try", "porbs").error
    assert "--try porbs: not a reuse method with groups; did you mean probs" in unknown
    assert "allowed: band, band_pairs, context, " in asr("analyze", *words, "--try", "none").error


def test_the_process_prints_json_alone(model: Path, data: Path) -> None:
    words = ["analyze", "--model", str(model), "--data", data.name, "--limit", "2", "--json", "-"]
    done = asr_process(words, data.parent)
    assert done.code == 0, done.err
    assert row_of(done.out)["counted"]["data"] == "test.jsonl.gz"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--threshold", "1.5"), "argument --threshold: '1.5': allowed: a number from 0 to 1"),
        (("--limit", "0"), "argument --limit: '0': allowed: a whole number from 1"),
        (("--budget", "5"), "--budget needs --length, the seconds of audio it applies to"),
        (("--budget", "-1", "--length", "1"), "'-1': allowed: a number above 0"),
        (("--device", "tpu9"), "--device tpu9: not available on this machine"),
        (("--treshold", "0.5"), "unknown argument --treshold; did you mean --threshold?"),
    ],
)
def test_wrong_options(
    asr: Command, model: Path, data: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in asr("analyze", "--model", model, "--data", data, *words).error


def test_wrong_paths(asr: Command, model: Path, data: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert "no such model folder" in asr("analyze", "--model", missing, "--data", data).error
    assert "no manifest at" in asr("analyze", "--model", model, "--data", missing).error
    folder = asr("analyze", "--model", model, "--data", data.parent)
    assert "is a folder; name one manifest in it" in folder.error
    blocked = asr("analyze", "--model", model, "--data", data, "--out", data)
    assert f"{data} cannot be a folder" in blocked.error
    into_folder = asr("analyze", "--model", model, "--data", data, "--json", tmp_path)
    assert "name a file for --json" in into_folder.error


def test_utterances_too_long_to_hold_their_maps(
    asr: Command, model: Path, data: Path, tmp_path: Path
) -> None:
    audio = data.parent / "u0.wav"
    long = CheckedUtterance("long", audio, 0.0, 3600.0, SAMPLE_RATE_HZ, 1, "a cat", None)
    write_manifest([long], tmp_path / "long.jsonl")
    error = asr("analyze", "--model", model, "--data", tmp_path / "long.jsonl").error
    assert "all 1 utterances are longer than 40 s" in error
