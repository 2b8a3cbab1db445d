from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

from asr.cli.compose import compose_reuse
from asr.cli.convert import MATCHED, UNMATCHED, is_worse, kept_line
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.decode.greedy import GreedyDecoder
from asr.errors import InputError
from asr.measure.calibration import CalibrationBatches, Tested
from asr.model.package import load_package
from tests.decode.package import save_tiny_package
from tests.measure.analysis.cases import write_data
from tests.model.configs import changed, random_waveforms

from .runs import RECIPE, SAMPLE_RATE_HZ, Command, files_in, write_corpus

NONE = changed("reuse", {"_target_": "asr.reuse.none.NoReuse", "fused": True})
MEASURED = re.compile(r"CTC loss +([\d.]+) per utterance, WER +([\d.]+) %")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("parent") / "model", NONE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("noise"))


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def log_probs(folder: Path) -> torch.Tensor:
    probs: torch.Tensor = load_package(folder).model(*random_waveforms([5000, 3000]))[0]
    return probs


def test_a_converted_model_says_where_it_comes_from(
    asr: Command, parent: Path, tmp_path: Path
) -> None:
    before = files_in(parent)
    out = tmp_path / "new" / "model"
    done = asr("convert", "reuse=probs", "reuse.group_size=2", "--model", parent, "--out", out)
    assert done.code == 0, done.err
    assert files_in(parent) == before
    assert "    1  probs      follow       0             2" in done.out
    assert "layer 1: keeps mix.value, mix.output; drops scores.query, scores.key" in done.out
    assert "layer 0:" not in done.out  # it leads with all it had
    counts = re.search(r"parameters: ([\d,]+) before, ([\d,]+) after", done.out)
    assert counts is not None
    sizes = [
        sum(one.numel() for one in load_package(folder).model.parameters())
        for folder in (parent, out)
    ]
    assert [int(count.replace(",", "")) for count in counts.groups()] == sizes
    config = json.loads((out / "config.json").read_text())
    weights = hashlib.sha256((parent / "model.safetensors").read_bytes()).hexdigest()
    assert config.pop("converted_from") == {
        **{"model": str(parent), "weights_sha256": weights},
        **{"heads_aligned_on": None, "limit": None},
    }
    assert config["reuse"]["group_size"] == 2
    former = json.loads((parent / "config.json").read_text())
    assert {**config, "reuse": former["reuse"]} == former
    card = (out / "README.md").read_text()
    assert card.startswith(f"# Converted from {parent}\n\n`asr convert reuse=probs reuse.group_si")
    assert all(line in card for line in done.out.splitlines())


def test_groups_of_one_compute_what_the_parent_does(
    asr: Command, parent: Path, tmp_path: Path
) -> None:
    words = ("reuse=context", "reuse.group_size=1")
    assert asr("convert", *words, "--model", parent, "--out", tmp_path / "m").code == 0
    assert torch.equal(log_probs(tmp_path / "m"), log_probs(parent))


@pytest.mark.parametrize("method", ["probs", "context", "heads", "scores", "kv"])
def test_with_data_losses_are_measured(
    asr: Command, parent: Path, data: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "model"
    words = ("--model", parent, "--data", data, "--limit", "5", "--out", out, f"reuse={method}")
    done = asr("convert", *words, *(("reuse.num_reused=1",) if method == "heads" else ()))
    assert done.code == 0, done.err
    assert "on 5 utterances of test.jsonl.gz:\n  full attention " in done.out
    full, plain, aligned = (tuple(map(float, one)) for one in MEASURED.findall(done.out))
    kept = min(aligned, plain, key=lambda one: (one[1], one[0]))
    worse = f"made it worse (WER {aligned[1]:.2f} % against {plain[1]:.2f} %, loss {aligned[0]:.3f}"
    assert (worse in done.out) == (kept != aligned)
    utterances = read_manifest(data)
    some = [utterances[index * 7 // 5] for index in range(5)]
    for folder, expected in ((parent, full), (out, kept)):
        package = load_package(folder)
        found = CalibrationBatches.read(package, some).test(
            package.model, package.tokenizer, GreedyDecoder()
        )
        assert (found.loss, found.wer) == pytest.approx(expected, abs=0.006)
    assert plain != full
    assert ("heads reordered to" in done.err) == (method != "kv")
    origin = json.loads((out / "config.json").read_text())["converted_from"]
    assert origin["limit"] == 5
    assert origin["heads_aligned_on"] == (str(data) if kept == aligned else None)


@pytest.mark.parametrize(
    ("matched", "unmatched", "worse"),
    [
        (Tested(30.0, 12.55), Tested(31.0, 10.88), True),
        (Tested(31.0, 10.88), Tested(30.0, 12.55), False),
        (Tested(31.0, 10.0), Tested(30.0, 10.0), True),
        (Tested(30.0, 10.0), Tested(30.0, 10.0), False),
    ],
)
def test_the_better_of_both_is_kept(matched: Tested, unmatched: Tested, worse: bool) -> None:
    tested = {MATCHED: matched, UNMATCHED: unmatched}
    assert is_worse(tested) is worse
    said = kept_line(tested)
    assert ("made it worse" in said) is worse
    if matched != unmatched:
        assert f"WER {matched.wer:.2f} % against {unmatched.wer:.2f} %" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no schedule given; for example reuse=probs reuse.group_size=2"),
        (
            ("encoder=conformer_s",),
            "encoder=conformer_s: only the schedule of a trained model can change",
        ),
        (("reuse=probs", "encoder.num_layers=2"), "encoder.num_layers=2: only the schedule of a"),
        (("reuse=prob",), "no reuse config is called 'prob'; did you mean probs?"),
        (("reuse=probs", "reuse.group=2"), "unknown key reuse.group; did you mean reuse.groups?"),
        (("reuse=probs", "reuse.group_size=3"), "reuse.group_size=3 does not divide encoder.num_"),
        (("reuse=probs", "reuse.groups=[2,2]"), "reuse: give exactly one of groups, group_size"),
        (("reuse=heads", "reuse.num_reused=9"), "reuse.num_reused=9: allowed: 1 to encoder.num_"),
        (("reuse=probs,none",), "one value is allowed here"),
        (("reuse",), "'reuse' is not an override"),
        (("reuse=probs", "--limit", "3"), "--limit needs --data"),
        (("reuse=probs", "--device", "tpu9"), "--device tpu9: not available on this machine"),
        (("reuse=probs", "--data", "nowhere.jsonl.gz"), "no manifest at"),
    ],
)
def test_wrong_words(
    asr: Command, parent: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out"
    assert said in asr("convert", *words, "--model", parent, "--out", out).error
    assert not out.exists()


def test_wrong_folders(asr: Command, parent: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    missing = asr("convert", "reuse=probs", "--model", tmp_path / "no", "--out", out)
    assert "no such model folder" in missing.error
    without = asr("convert", "reuse=probs", "--model", parent)
    assert "the following arguments are required: --out" in without.error
    before = files_in(parent)
    full = asr("convert", "reuse=probs", "--model", parent, "--out", parent)
    assert f"--out {parent} is not empty; name a new or an empty folder" in full.error
    assert files_in(parent) == before
    file = asr("convert", "reuse=probs", "--model", parent, "--out", parent / "config.json")
    assert "cannot be a folder" in file.error
    assert not out.exists()


def test_a_parent_that_reuses_already(asr: Command, tmp_path: Path) -> None:
    reusing = save_tiny_package(tmp_path / "model")
    done = asr("convert", "reuse=kv", "--model", reusing, "--out", tmp_path / "out")
    assert "layer 0 of that model has no full attention (reuse probs, lead); only" in done.error


def test_data_that_cannot_be_used(asr: Command, parent: Path, data: Path, tmp_path: Path) -> None:
    def convert(manifest: Path) -> str:
        words = ("reuse=probs", "--model", parent, "--out", tmp_path / "out")
        return asr("convert", *words, "--data", manifest).error

    place = (0.0, 1.0, SAMPLE_RATE_HZ, 1)
    foreign = CheckedUtterance("u", data.parent / "u0.wav", *place, "QUIZ", None)
    write_manifest([foreign], tmp_path / "foreign.jsonl")
    assert "transcript of u has characters 'quz'" in convert(tmp_path / "foreign.jsonl")
    long = CheckedUtterance(
        "u", data.parent / "u0.wav", 0.0, 3600.0, SAMPLE_RATE_HZ, 1, "A CAT", None
    )
    write_manifest([long], tmp_path / "long.jsonl")
    assert "all 1 utterances are longer than 40 s" in convert(tmp_path / "long.jsonl")
    assert not (tmp_path / "out").exists()


def test_a_schedule_without_a_recipe() -> None:
    reuse = compose_reuse(["reuse=heads", "reuse.num_reused=3", "reuse.group_size=8"])
    assert reuse["_target_"] == "asr.reuse.heads.ReuseHeads"
    assert (reuse["num_reused"], reuse["group_size"], reuse["groups"]) == (3, 8, None)
    with pytest.raises(InputError, match="keys cannot be added"):
        compose_reuse(["+reuse.extra=1"])


def test_training_goes_on_from_a_converted_model_beside_its_parent(
    asr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = write_corpus(tmp_path / "corpus")
    recipe = tmp_path / "tones.yaml"
    text = RECIPE.format(folder=corpus).replace("averaging]", "averaging, distillation]")
    recipe.write_text(text.replace("max_steps: 12", "max_steps: 24"))
    trained = asr("train", recipe, "--run-dir", "parent", "--no-latency")
    assert trained.code == 0, trained.err
    schedule = ("reuse=probs", "reuse.group_size=2")
    train = corpus / "train.jsonl.gz"
    words = ("--model", "parent/model", "--data", train, "--out", "converted")
    assert asr("convert", *schedule, *words).code == 0
    taught = asr(
        *("train", recipe, *schedule, "init=converted", "--run-dir", "child", "--no-latency"),
        *("train.distillation.teacher=parent/model", "train.trainer.max_steps=16"),
    )
    assert taught.code == 0, taught.err
    assert "teacher: parent/model, weight 0.5" in taught.err
    assert "0 not used\n" in taught.err  # the very same schedule
    losses = {}
    for folder in ("parent/model", "converted", "child/model"):
        package = load_package(Path(folder))
        calibration = CalibrationBatches.read(package, read_manifest(train))
        losses[folder] = calibration.test(package.model, package.tokenizer, GreedyDecoder()).loss
    assert losses["child/model"] < losses["converted"]
    child = load_package(Path("child/model"))
    assert (
        child.model.state_dict().keys() == load_package(Path("converted")).model.state_dict().keys()
    )

    before = files_in(tmp_path)
    missing = ("train.distillation.teacher=nowhere", "--run-dir", "no")
    assert "nowhere: no such model folder" in asr("train", recipe, *missing).err
    weight = ("train.distillation.weight=2", "--run-dir", "no")
    assert (
        "train.distillation.weight has no effect: train.distillation.teacher is not set"
        in asr("train", recipe, *weight).error
    )
    assert files_in(tmp_path) == before
