"""Training broken off from outside, in processes of their own, by what happens to machines."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from asr.head.base import HeadLoss
from asr.model.package import FILES, load_package
from asr.report.record import RunRecord
from asr.train.checkpoint import read_checkpoint
from asr.train.module import AsrModule
from asr.types import Batch

from .runs import Command, environment, write_corpus, write_recipe

WORDS = [
    *("tones.yaml", "--no-latency", "train.trainer.max_steps=40", "train.averaging.kind=ema"),
    *("train.trainer.log_every_steps=1", "train.trainer.print_every_s=0.01"),
    *("train.trainer.validate_every_epochs=null", "train.trainer.save_every_steps=5"),
    *("encoder.dropout=0.1", "features.fbank.dither=1.0e-3", "data.batching.max_duration_s=3"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe of short epochs and its corpus."""
    folder = tmp_path_factory.mktemp("lost")
    write_recipe(folder / "tones.yaml", write_corpus(folder / "corpus"))
    recipe = (folder / "tones.yaml").read_text()
    (folder / "tones.yaml").write_text(
        recipe.replace("[fbank, normalize]", "[fbank, normalize, specaugment]")
    )
    return folder


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(folder)
    return Command(capsys)


@contextmanager
def training(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`asr train` in the background."""
    with subprocess.Popen(
        [sys.executable, "-m", "asr", "train", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        yield process


def wait_for_step(process: subprocess.Popen[str], step: int) -> str:
    """What was printed until the run said that it is at ``step`` or behind it."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("step ") and int(line.split()[1].split("/")[0]) >= step:
            return said
    raise AssertionError(said)


def column(run: Path, name: str) -> list[tuple[int, str]]:
    with (run / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [(int(row["step"]), row[name]) for row in csv.DictReader(file) if row[name]]


def last(run: Path) -> dict[str, object]:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")


def assert_same(one: object, other: object, where: str = "") -> None:
    """Bit for bit, through dicts and lists."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    else:
        assert one == other, where


def test_a_killed_run_goes_on_as_if_nothing_had_happened(asr: Command, folder: Path) -> None:
    assert asr("train", *WORDS, "--run-dir", "whole").code == 0
    whole = folder / "whole"
    words = [*WORDS, "--run-dir", "cut", "data.loader.num_workers=1"]  # reads ahead of the kill
    with training(folder, *words) as process:
        wait_for_step(process, 11)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    stopped = last(folder / "cut")["run"]
    assert isinstance(stopped, dict)
    assert stopped["num_steps"] % 5 == 0
    assert stopped["position"]["batch"] > 0, "in the middle of an epoch"
    assert not (folder / "cut" / "model").exists()
    done = asr("train", *words, "--resume")
    assert done.code == 0, done.err
    assert "; 1 times resumed" in done.err
    for name in ("train_loss", "lr", "grad_norm", "dev_wer", "dev_loss"):
        assert column(folder / "cut", name) == column(whole, name)
    assert [step for step, _ in column(whole, "train_loss")] == list(range(1, 41))
    ours, theirs = last(folder / "cut"), last(whole)
    for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "random"):
        assert_same(ours[key], theirs[key], key)
    for name in FILES:
        path = Path("model") / name
        assert (folder / "cut" / path).read_bytes() == (whole / path).read_bytes()
    training_cost = RunRecord.load(folder / "cut").training
    assert training_cost is not None
    assert training_cost.num_resumed == 1


def test_a_run_goes_on_longer(asr: Command, folder: Path) -> None:
    words = [*WORDS, "--run-dir", "longer"]
    words[2] = "train.trainer.max_steps=15"
    assert asr("train", *words).code == 0
    error = asr("train", *words, "--resume", "seed=3", "train.optim.peak_lr=2").error
    assert "begun with train.optim.peak_lr=0.001, now 2; seed=0, now 3: resume" in error
    words[2] = "train.trainer.max_steps=20"
    done = asr("train", *words, "--resume")
    assert done.code == 0, done.err
    assert "changed: train.trainer.max_steps=15, now 20 (a learning rate that" in done.err
    record = RunRecord.load(folder / "longer")
    assert record.training is not None
    assert record.training.num_steps == 20
    assert record.config["train"]["trainer"]["max_steps"] == 20


def test_a_dead_data_worker_is_named(folder: Path) -> None:
    words = [*WORDS, "data.loader.num_workers=1", "--run-dir", "worker"]
    words[2] = "train.trainer.max_steps=100000"
    with training(folder, *words, "train.optim.warmup_fraction=0.0001") as process:
        wait_for_step(process, 8)
        (worker,) = loader_workers(process.pid)
        os.kill(worker, signal.SIGKILL)
        assert process.stderr is not None
        error = process.stderr.read().splitlines()[-1]
    assert process.returncode == 3, error
    lost = rf"data worker {worker} (was killed|exited).*|a data worker was lost"
    assert re.match(rf"asr train: error: ({lost}) after step", error)
    assert "lower data.loader.num_workers" in error
    run = last(folder / "worker")["run"]
    assert isinstance(run, dict)
    assert run["num_steps"] % 5 == 0


def loader_workers(pid: int) -> list[int]:
    """The child processes of ``pid`` that run its own program."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            words = Path(f"/proc/{child}/cmdline").read_bytes()
            if words == Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(child)
    return found


def test_audio_that_goes_away_is_counted_until_it_is_too_much(asr: Command, folder: Path) -> None:
    corpus = write_corpus(folder / "going")
    write_recipe(folder / "going.yaml", corpus)
    words = [*WORDS, "--run-dir", "going"]
    words[0], words[2] = "going.yaml", "train.trainer.max_steps=100000"
    words += ["train.optim.warmup_fraction=0.0001"]
    with training(folder, *words) as process:
        wait_for_step(process, 1)
        (corpus / "audio" / "train-3.wav").write_bytes(b"RIFF")
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("skipped utterance"):
                assert "train-3.wav" in line
                break
        wait_for_step(process, 20)
        for number in (5, 6):
            (corpus / "audio" / f"train-{number}.wav").unlink()
        error = process.stderr.read().splitlines()[-1]
    assert process.returncode == 3
    assert "error: 3 of 24 utterances cannot be read, above data.loader.max_unread" in error
    words[2] = "train.trainer.max_steps=30"  # fewer than were made: it only evaluates
    done = asr("train", *words, "--resume", "data.loader.max_unreadable=1")
    assert done.code == 0, done.err
    record = RunRecord.load(folder / "going")
    assert record.data["train"].num_skipped == 3
    assert "3 training utterances unreadable" in done.err
    assert "3 unreadable" in (folder / "going" / "report.md").read_text()
    assert load_package(folder / "going" / "model").tokenizer.vocab_size > 1


def test_losses_that_are_not_finite_end_the_run_with_names(
    asr: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_loss = AsrModule.batch_loss

    def diverge(module: AsrModule, batch: Batch) -> HeadLoss:
        result = batch_loss(module, batch)
        is_early = module.trainer.global_step < 4
        return result if is_early else HeadLoss(result.loss * torch.inf, result.num_left_out)

    monkeypatch.setattr(AsrModule, "batch_loss", diverge)
    words = [*WORDS, "--run-dir", "wild", "train.trainer.max_bad_steps_in_row=3"]
    done = asr("train", *words, "train.trainer.save_every_steps=1")
    assert done.code == 3
    error = done.err.splitlines()[-1]
    assert "not finite 3 steps in a row (train.trainer.max_bad_steps_in_row), last in tr" in error
    assert "lower train.optim.peak_lr" in error
    assert isinstance(last(folder / "wild")["run"], dict)
