"""`asr train` of a language model, and what it is for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.model.language_model import load_lm
from asr.model.package import load_package
from tests.decode.package import TEXTS, save_tiny_package, write_noise
from tests.measure.analysis.cases import write_data

from .runs import Command

SMALL = (
    *("lm.num_layers=2", "lm.d_model=16", "lm.num_heads=2", "lm.ffn_dim=16"),
    *("train.text.max_steps=4", "train.text.validate_every_steps=2"),
    *("train.text.batch_tokens=200", "train.text.max_tokens=100"),
    *("text.normalize.case=lower", "splits.train=text.txt"),
)


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command line, in a folder with a text and a recogniser."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("\n".join([*TEXTS, "", "the dog sat on a cat"]) + "\n")
    save_tiny_package(tmp_path / "model")
    return Command(capsys)


def train(asr: Command, *words: str, run: str = "lm") -> None:
    tokenizer = "text.tokenizer.model=model/tokenizer.model"
    done = asr("train", "lm", *SMALL, tokenizer, *words, "--run-dir", run)
    assert done.code == 0, done.err


def test_it_is_trained_resumed_and_used(asr: Command, tmp_path: Path) -> None:
    train(asr, "splits.dev=text.txt", "lm.groups=[2]")
    assert load_lm(tmp_path / "lm").config["lm"]["groups"] == [2]
    told = json.loads((tmp_path / "lm" / "language_model.json").read_text())
    assert told["result"]["num_steps"] == 4
    assert told["dev_word_perplexity"] > 1
    again = asr("train", "lm", *SMALL, "--run-dir", "lm")
    assert "holds a run that has begun; `asr train --resume lm` goes on" in again.error
    done = asr("train", "--resume", "lm", "train.text.max_steps=6")
    assert done.out.startswith("6 steps in ")
    assert "resuming at step 4" in done.err
    refused = asr("train", "--resume", "lm", "lm.d_model=32").error
    assert "was begun with lm.d_model=16, now 32" in refused
    assert "train.text.max_steps" in refused
    assert "train.trainer" not in refused

    audio = write_noise(tmp_path / "a.wav", 1.5)
    words = ("transcribe", audio, "--model", "model", "--beam", "4", "--format", "json")
    options = ("--n-best", "4")
    plain = json.loads(asr(*words, *options).out)
    fused = json.loads(asr(*words, *options, "--lm", "lm", "--lm-weight", "3").out)
    later = json.loads(asr(*words, *options, "--rescore-lm", "lm", "--rescore-weight", "3").out)

    def n_best(found: object) -> list[tuple[str, float]]:
        (piece,) = found["n_best"]  # type: ignore[index]
        return [(one["text"], one["score"] - one["acoustic"]) for one in piece["texts"]]

    assert {text for text, _ in n_best(later)} == {text for text, _ in n_best(plain)}
    assert n_best(later) != n_best(plain)
    assert all(added != 0 for _, added in [*n_best(fused), *n_best(later)])


def test_a_recogniser_and_a_language_model_are_told_apart(asr: Command, tmp_path: Path) -> None:
    train(asr)
    audio = write_noise(tmp_path / "a.wav", 0.5)
    words = ("transcribe", audio, "--beam", "4")
    assert "(this is the config of a language model)" in asr(*words, "--model", "lm").error
    said = asr(*words, "--model", "model", "--lm", "model").error
    assert "lacks lm (this is the config of a recogniser)" in said


def test_other_tokens_are_refused(asr: Command, tmp_path: Path) -> None:
    done = asr(
        "train", "lm", *SMALL, "text.tokenizer.kind=char", "text.tokenizer.vocab_size=40",
        "text.normalize.case=upper", "--run-dir", "other",
    )  # fmt: skip
    assert done.code == 0, done.err
    audio = write_noise(tmp_path / "a.wav", 0.5)
    said = asr("transcribe", audio, "--model", "model", "--beam", "4", "--lm", "other").error
    assert "over other tokens than the recogniser's" in said
    assert "text.tokenizer.model=RECOGNISER/tokenizer.model" in said


def test_rescoring_and_subtracting_are_tuned_and_refused_alone(
    asr: Command, tmp_path: Path
) -> None:
    train(asr)
    data = write_data(tmp_path)
    words = ("evaluate", "--model", "model", "--data", data, "--lengths", "--beam", "4")
    done = asr(*words, "--rescore-lm", "lm", "--tune")
    assert done.code == 0, done.err
    assert done.err.count("--rescore-weight ") == 25
    asr("lm", "train", "text.txt", "--model", "model", "--pieces", "--order", "2",
        "--out", "low.arpa")  # fmt: skip
    assert asr(*words, "--lm", "lm", "--lodr", "low.arpa", "--lodr-weight", "0.3").code == 0
    assert "--lodr is subtracted from a language model" in asr(*words, "--lodr", "low.arpa").error
    assert "give --rescore-lm too" in asr(*words, "--rescore-weight", "1").error
    assert "give --lodr too" in asr(*words, "--lm", "lm", "--lodr-weight", "1").error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("splits.train=null", "splits.train must be set to a text"),
        ("splits.train=none.txt", "splits.train=none.txt: no such file"),
        ("lm.num_heads=3", "lm.num_heads=3 does not divide the width 16"),
        ("lm.groups=[3]", "lm.groups"),
        ("train.text.max_tokens=200", "train.text.batch_tokens=200: allowed: more than"),
        ("train.text.max_steps=0", "train.text.max_steps"),
        ("--dry-run", "--dry-run is for recognisers"),
        ("reuse=probs", "reuse"),
    ],
)
def test_settings_that_do_not_go(asr: Command, words: str, said: str) -> None:
    tokenizer = "text.tokenizer.model=model/tokenizer.model"
    assert said in asr("train", "lm", *SMALL, tokenizer, words, "--run-dir", "lm").error
    assert not Path("lm").exists()


def test_an_empty_text_is_named(asr: Command) -> None:
    Path("text.txt").write_text("\n\n")
    tokenizer = "text.tokenizer.model=model/tokenizer.model"
    assert "text.txt: no sentence" in asr("train", "lm", *SMALL, tokenizer).error


def test_its_weights_are_checked_before_they_are_taken(asr: Command, tmp_path: Path) -> None:
    train(asr)
    config = tmp_path / "lm" / "model" / "config.json"
    config.write_text(config.read_text().replace('"num_layers": 2', '"num_layers": 900'))
    audio = write_noise(tmp_path / "a.wav", 0.5)
    said = asr("transcribe", audio, "--model", "model", "--beam", "4", "--lm", "lm").error
    assert "weights do not fit config.json" in said
    assert load_package(tmp_path / "model").tokenizer.vocab_size > 2
