from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from asr.cli.compose import compose_recipe
from asr.cli.run_folder import default_run_folder, run_name
from asr.cli.training_setup import check_run
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.model.package import load_package
from asr.report.hypotheses import read_hypotheses
from asr.report.record import RunRecord

from .runs import (
    SAMPLE_RATE_HZ,
    Command,
    Outcome,
    asr_process,
    environment,
    files_in,
    write_corpus,
    write_recipe,
)

NUM_STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, its corpus, and a finished run ``run``."""
    folder = tmp_path_factory.mktemp("tones")
    write_recipe(folder / "tones.yaml", write_corpus(folder / "corpus"))
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Outcome:
    """A whole run in a process of its own."""
    return asr_process(["train", "tones.yaml", "--run-dir", "run", "--json", "rows.json"], folder)


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(folder)
    return Command(capsys)


def test_a_run_leaves_everything_it_should(trained: Outcome, folder: Path) -> None:
    assert trained.code == 0, trained.err
    run = folder / "run"
    assert {path.name for path in run.iterdir()} == {
        *("config.yaml", "checkpoints", "logs", "model", "hypotheses", "record.json", "report.md"),
        *("report.html", "train.log"),
    }
    assert {path.name for path in (run / "model").iterdir()} == {
        *("model.safetensors", "config.json", "tokenizer.model", "README.md")
    }
    assert {path.name for path in (run / "hypotheses").iterdir()} == {"test.jsonl"}
    package = load_package(run / "model")
    assert package.normalizer("low, mid") == "LOW MID"
    assert package.tokenizer.unknown_characters("LOW MID HIGH") == ""


def test_the_record_says_what_was_done(trained: Outcome, folder: Path) -> None:
    record = RunRecord.load(folder / "run")
    assert (record.run, record.reuse) == ("run", "none")
    assert record.command == "asr train tones.yaml --run-dir run --json rows.json"
    assert record.training is not None
    assert record.training.num_steps == NUM_STEPS
    assert not record.training.interrupted
    assert 0 < record.training.train_s < 600
    assert {split: counts.num_utterances for split, counts in record.data.items()} == {
        "train": 24, "dev": 4, "test": 6
    }  # fmt: skip
    assert record.data["train"].num_words == 60
    assert record.data["train"].hours == pytest.approx(60 * 0.25 / 3600)
    assert record.config == yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert [point.length_s for point in record.latency] == [0.5, 1.0]
    assert record.wer["test"].words == 13
    scored = read_hypotheses(folder / "run" / "hypotheses" / "test.jsonl")
    assert sum(one.errors.sub + one.errors.del_ + one.errors.ins for one in scored) == (
        record.wer["test"].sub + record.wer["test"].del_ + record.wer["test"].ins
    )
    (row,) = json.loads((folder / "rows.json").read_text())
    assert row["train_s"] == record.training.train_s


def test_the_report_is_the_card_of_the_model(trained: Outcome, folder: Path) -> None:
    report = (folder / "run" / "report.md").read_text()
    assert report == (folder / "run" / "model" / "README.md").read_text()
    assert report.startswith("# tones: run\n")
    assert f"{NUM_STEPS} steps" in report
    assert "<h1>" in (folder / "run" / "report.html").read_text()
    assert "WER % test" in report


def test_progress_and_results_do_not_mix(trained: Outcome, folder: Path) -> None:
    assert "WER % test" in trained.out
    log = (folder / "run" / "train.log").read_text()
    assert all(line in log for line in (trained.out + trained.err).splitlines())
    assert "  ref: " in trained.err
    assert "no such checkpoint" not in trained.err
    assert "step " not in trained.out
    for said in (
        "run folder run",
        "24 utterances",
        "0  none       alone",
        "scoring test",
        "model: run/model",
    ):
        assert said in trained.err


def test_the_model_transcribes_and_evaluates_to_the_same_wer(
    asr: Command, trained: Outcome, folder: Path
) -> None:
    words = ("--data", "corpus/test.jsonl.gz", "--lengths", "--json", "-")
    done = asr("evaluate", "--model", "run/model", *words)
    (row,) = json.loads(done.out)
    assert row["run"] == "run"
    recorded = RunRecord.load(folder / "run").wer["test"]
    assert row["wer"]["test"]["wer"] == recorded.wer
    assert row["wer"]["test"]["low"] == recorded.low
    done = asr("transcribe", "corpus/audio/test-0.wav", "--model", "run/model")
    assert (done.code, done.err) == (0, "")


def test_a_finished_run_is_not_trained_over(asr: Command, trained: Outcome, folder: Path) -> None:
    before = files_in(folder / "run")
    error = asr("train", "tones.yaml", "--run-dir", "run").error
    assert (
        "run holds a finished run; `asr train --resume run` shows its result, another --ru" in error
    )
    done = asr("train", "tones.yaml", "--run-dir", "run", "--resume")
    assert done.code == 0
    assert done.out.splitlines()[2].split()[:4] == trained.out.splitlines()[2].split()[:4]
    assert files_in(folder / "run") == before


@pytest.mark.parametrize(
    "words",
    [
        ["--resume", "run"],
        ["--run-dir", "run", "--resume"],
        ["metrics.latency.repeats=2", "--resume", "run/checkpoints/last.ckpt"],
        ["--resume", "run/config.yaml"],
        ["tones.yaml", "--resume", "run"],
    ],
)
def test_a_run_is_resumed_by_its_folder(
    asr: Command, trained: Outcome, folder: Path, words: list[str]
) -> None:
    before = files_in(folder / "run")
    done = asr("train", *words)
    assert done.code == 0, done.err
    assert done.out.splitlines()[2].split()[:4] == trained.out.splitlines()[2].split()[:4]
    assert files_in(folder / "run") == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no recipe; name one (asr train RECIPE.yaml), or a run: --resume RUN"),
        (["--resume"], "no recipe; name one"),
        (["seed=3"], "no recipe; name one"),
        (["--resume", "nowhere"], "nowhere is not there; a run folder has config.yaml"),
        (["--resume", "corpus"], "corpus holds no run; a run folder has config.yaml"),
        (["--resume", "run", "--run-dir", "other"], "--resume run and --run-dir other name two"),
        (["--resume", "run", "seed=3"], "run was begun with seed=0, now 3"),
        (["--resume", "run", "encoder.dmodel=3"], "unknown key encoder.dmodel; did you mean"),
    ],
)
def test_what_cannot_be_resumed(
    asr: Command, trained: Outcome, words: list[str], said: str
) -> None:
    assert said in asr("train", *words).error


def test_the_config_of_a_run_is_a_recipe(asr: Command, trained: Outcome, folder: Path) -> None:
    begun = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    for recipe in (Path("run"), Path("run/config.yaml")):
        assert compose_recipe(recipe) == begun
    probs = compose_recipe(Path("run"), ["reuse=probs", "reuse.group_size=2", "seed=4"])
    same = compose_recipe(Path("tones.yaml"), ["reuse=probs", "reuse.group_size=2", "seed=4"])
    assert probs == same
    splits = check_run(begun, Path("run"))
    folders = [default_run_folder(begun, Path(one), splits) for one in ("run", "tones.yaml")]
    assert folders[0] == folders[1]
    assert asr("bench", "run", "metrics.latency.lengths_s=[0.5]").code == 0


@pytest.mark.parametrize(
    "model",
    [
        *("run", "run/model", "run/model/config.json"),
        *("run/checkpoints/best.ckpt", "run/checkpoints/last.ckpt"),
    ],
)
def test_a_run_stands_for_its_model(
    asr: Command, trained: Outcome, folder: Path, model: str
) -> None:
    assert run_name(Path(model)) == "run"
    done = asr("transcribe", "corpus/audio/test-0.wav", "--model", model)
    assert (done.code, done.err) == (0, "")
    weights = load_package(folder / model).model.state_dict()
    expected = load_package(folder / "run" / "model").model.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_checkpoint_without_a_model(asr: Command, tmp_path: Path) -> None:
    checkpoint = tmp_path / "my run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    for model in (checkpoint, checkpoint.parent.parent):
        error = asr("transcribe", "a.wav", "--model", model).error
        assert f"`asr train --resume '{tmp_path}/my run'` finishes it" in error
    lone = tmp_path / "lone.ckpt"
    error = asr("train", "tones.yaml", f"init={lone}").error
    assert "lone.ckpt: a checkpoint alone is no model; name the model folder" in error


@pytest.mark.parametrize("words", [[], ["--resume"]])
def test_other_settings_need_another_folder(
    asr: Command, trained: Outcome, folder: Path, words: list[str]
) -> None:
    before = files_in(folder / "run")
    error = asr("train", "tones.yaml", "encoder.d_model=32", "--run-dir", "run", *words).error
    assert ("encoder.d_model=16, now 32" in error) == bool(words)
    assert files_in(folder / "run") == before


def test_how_a_run_is_carried_out_may_change(asr: Command, trained: Outcome) -> None:
    words = ("data.loader.num_workers=1", "train.trainer.print_every_s=1")
    assert asr("train", "tones.yaml", *words, "--run-dir", "run", "--resume").code == 0


@pytest.mark.parametrize("word", ["metrics.latency.repeats=7", "train.trainer.accumulate=2"])
def test_a_finished_run_refuses_what_has_no_effect(
    asr: Command, trained: Outcome, folder: Path, word: str
) -> None:
    before = files_in(folder / "run")
    done = asr("train", "tones.yaml", word, "--run-dir", "run", "--resume")
    assert done.code == 2
    assert f"holds a finished run, in which {word.partition('=')[0]}=" in done.err
    assert "has no effect" in done.err
    assert files_in(folder / "run") == before


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["init=run", "text.tokenizer.kind=bpe"], "text.tokenizer.kind"),
        (["init=run", "text.tokenizer.vocab_size=40"], "text.tokenizer.vocab_size"),
        (["train.averaging.decay=0.5"], "train.averaging.decay"),
        (["text.tokenizer.model=t", "text.tokenizer.kind=bpe"], "text.tokenizer.kind"),
    ],
)
def test_an_override_without_effect_is_refused(
    asr: Command, trained: Outcome, words: list[str], key: str
) -> None:
    for verb in ("train", "compare"):
        assert f"{key} has no effect: " in asr(verb, "tones.yaml", *words).error


def test_a_run_from_a_model_says_whose_tokenizer_it_has(
    asr: Command, trained: Outcome, folder: Path
) -> None:
    recipe = (folder / "tones.yaml").read_text().replace("kind: char", "kind: bpe")
    (folder / "pieces.yaml").write_text(recipe)
    words = ("init=run", "train.trainer.max_steps=1", "--no-latency", "--run-dir", "child")
    done = asr("train", "pieces.yaml", "text.tokenizer.kind=char", *words)
    assert done.code == 0, done.err
    theirs, ours = (
        json.loads((folder / run / "model" / "config.json").read_text())["text"]["tokenizer"]
        for run in ("run", "child")
    )
    assert ours == theirs


def test_a_run_from_a_model_may_have_a_vocabulary_of_its_own(
    asr: Command, trained: Outcome, folder: Path
) -> None:
    words = ["train", "tones.yaml", "init=run", "text.tokenizer.of_init=false", "--no-latency"]
    words += ["text.tokenizer.kind=bpe", "train=[optim,trainer,averaging,freeze]"]
    words += ["train.trainer.max_steps=2", "train.optim.parts=[{part:encoder,factor:0.1}]"]
    error = asr(*words, "text.tokenizer.vocab_size=400").error
    assert "text.tokenizer.vocab_size=400: more than the transcripts give; allowed: 11 to" in error
    words += ["text.tokenizer.vocab_size=13", "--run-dir", "adapted"]
    error = asr(*words, "train.freeze.modules=[layers.0-5]").error
    assert "train.freeze.modules: no module layers.0-5; such as encoder," in error
    done = asr(*words, "train.freeze.modules=[layers.0]")
    assert done.code == 0, done.err
    theirs, ours = (load_package(folder / run / "model") for run in ("run", "adapted"))
    former, now = theirs.tokenizer.vocabulary, ours.tokenizer.vocabulary
    pieces = RunRecord.load(folder / "adapted").pieces
    assert pieces is not None
    assert pieces.kept == tuple(piece for piece in now if piece in former)
    assert pieces.fresh == tuple(piece for piece in now if piece not in former)
    assert len(pieces.fresh) == 2
    assert f"init: 2 pieces start untrained: {' '.join(pieces.fresh)}" in done.err
    frozen = [name for name in ours.model.state_dict() if name.startswith("encoder.layers.0.")]
    assert frozen
    for name in frozen:
        assert torch.equal(ours.model.state_dict()[name], theirs.model.state_dict()[name])


def test_letters_that_no_token_spells_are_named_and_counted(
    asr: Command, trained: Outcome, folder: Path
) -> None:
    utterances = [
        CheckedUtterance(
            f"u{index}",
            folder / "corpus" / "audio" / f"dev-{index}.wav",
            *(0.0, 0.25, SAMPLE_RATE_HZ, 1, text, None),
        )
        for index, text in enumerate(("LOW", "LOXX", "MID"))
    ]
    write_manifest(utterances, folder / "corpus" / "rare.jsonl.gz")
    words = ("tones.yaml", "splits.dev=rare", "train.trainer.max_steps=1", "--no-latency")
    error = asr("train", *words, "--run-dir", "rare").error
    assert "transcript of u1 has characters 'X'" in error
    assert "--allow-unknown goes on" in error
    done = asr("train", *words, "--run-dir", "rare", "--allow-unknown")
    assert done.code == 0, done.err
    said = "rare: 1 utterances have characters that the tokenizer does not know"
    assert said in done.err
    assert "('X' 2): u1" in done.err


def test_the_default_folder_is_that_of_the_settings(asr: Command, folder: Path) -> None:
    words = ("train", "tones.yaml", "train.trainer.max_steps=1", "--no-latency")
    done = asr(*words)
    assert done.code == 0, done.err
    (run,) = (folder / "runs" / "tones").iterdir()
    assert run.name.startswith("none-")
    assert f"{run.relative_to(folder)} holds a finished run" in asr(*words).error
    assert asr(*words, "seed=1", "--json", "-").code == 0
    assert len(list((folder / "runs" / "tones").iterdir())) == 2


def test_an_interrupted_run_is_usable_and_goes_on(asr: Command, folder: Path) -> None:
    many = ["train.trainer.max_steps=100000", "train.optim.warmup_fraction=0.0001"]
    words = ["train", "tones.yaml", *many, "train.trainer.validate_every_epochs=null"]
    words += ["train.trainer.validate_every_steps=20", "--run-dir", "cut", "--no-latency"]
    code, err = interrupt([*words, "train.trainer.print_every_s=0.1"], folder, after="step ")
    assert code == 130, err
    assert (
        "interrupted; the model so far is in cut/model; to go on: asr train --resume cut\n" in err
    )
    record = RunRecord.load(folder / "cut")
    assert record.training is not None
    assert record.training.interrupted
    num_steps = record.training.num_steps
    assert 0 < num_steps < 100_000
    assert "interrupted" in (folder / "cut" / "report.md").read_text()
    done = asr("transcribe", "corpus/audio/test-0.wav", "--model", "cut/model")
    assert (done.code, done.err) == (0, "")

    before = files_in(folder / "cut")
    assert "cut holds a run that has begun; `asr train --resume cut` goes on" in asr(*words).error
    error = asr(*words, "train.optim.peak_lr=0.1", "--resume").error
    assert "cut was begun with train.optim.peak_lr=0.001, now 0.1" in error
    assert files_in(folder / "cut") == before

    error = asr("train", "tones.yaml", "--run-dir", "cut", "--resume").error
    assert "`asr train --resume cut` reads them there" in error
    error = asr("train", "train.optim.peak_lr=0.1", "--resume", "cut").error
    assert "cut was begun with train.optim.peak_lr=0.001, now 0.1" in error
    done = asr("train", "--resume", "cut", f"train.trainer.max_steps={num_steps + 5}")
    assert done.code == 0, done.err
    resumed = RunRecord.load(folder / "cut")
    assert resumed.training is not None
    assert (resumed.training.num_steps, resumed.training.interrupted) == (num_steps + 5, False)
    assert resumed.wer["test"].words == 13
    assert resumed.command == f"asr train --resume cut train.trainer.max_steps={num_steps + 5}"


def test_an_interruption_before_training_is_quiet(folder: Path) -> None:
    words = ["train", "tones.yaml", "--run-dir", "early"]
    code, err = interrupt(words, folder, after="run folder ")
    assert code == 130
    assert "Traceback" not in err


def interrupt(words: list[str], folder: Path, *, after: str) -> tuple[int, str]:
    """Press Ctrl-C once a line that starts with ``after`` is printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "asr", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if line.startswith(after):
                break
        os.kill(process.pid, signal.SIGINT)
        seen += process.stderr.read()
    return process.returncode, seen
