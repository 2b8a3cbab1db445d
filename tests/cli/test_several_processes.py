"""Training in two processes on a CPU: the same as in one, and none waits for a dead one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from asr.report.record import RunRecord

from .runs import asr_process, write_corpus, write_recipe
from .test_never_lost import column, training, wait_for_step

TWO = ["train.trainer.devices=2", "train.trainer.strategy=ddp"]
SETTINGS = [
    *("tones.yaml", "--no-latency", "train.trainer.log_every_steps=1", "head.dropout=0"),
    "train.trainer.print_every_s=0.01",
]
SHORT = ["train.trainer.max_steps=8", "train.trainer.validate_every_steps=1"]
ENDLESS = [
    *("train.trainer.max_steps=100000", "train.optim.warmup_fraction=0.0001"),
    *("train.trainer.validate_every_epochs=null", "train.trainer.save_every_steps=5"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe without batch normalisation, whose statistics are those of a process."""
    folder = tmp_path_factory.mktemp("two")
    recipe = write_recipe(folder / "tones.yaml", write_corpus(folder / "corpus", num_train=39))
    text = recipe.read_text().replace("conformer_xs", "transformer_xs")
    recipe.write_text(text.replace("  conv_kernel_size: 5\n", ""))
    return folder


def test_two_processes_train_as_one_with_twice_the_batches(folder: Path) -> None:
    done = asr_process(["train", *SETTINGS, *SHORT, *TWO, "--run-dir", "two"], folder)
    assert done.code == 0, done.err
    assert done.err.count("scoring test") == 1, "one process alone speaks"
    assert done.out.count("Command: ") == 1, "and prints one table"
    one = ["train", *SETTINGS, *SHORT, "train.trainer.accumulate=2", "--run-dir", "one"]
    assert asr_process(one, folder).code == 0
    for name in ("train_loss", "grad_norm", "dev_loss", "dev_wer", "lr"):
        ours, theirs = column(folder / "two", name), column(folder / "one", name)
        assert [step for step, _ in ours] == [step for step, _ in theirs] == list(range(1, 9)), name
        assert [float(value) for _, value in ours] == pytest.approx(
            [float(value) for _, value in theirs], rel=1e-4, abs=1e-12
        )
    training_cost = RunRecord.load(folder / "two").training
    assert training_cost is not None
    assert training_cost.num_steps == 8


def child_processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_process_that_is_killed_ends_the_run(folder: Path, victim: str) -> None:
    words = [*SETTINGS, *ENDLESS, *TWO, "--run-dir", victim]
    with training(folder, *words) as process:
        wait_for_step(process, 6)
        (second,) = child_processes(process.pid)
        os.kill(process.pid if victim == "first" else second, signal.SIGKILL)
        start_s = time.monotonic()
        assert process.stderr is not None
        error = process.stderr.read().splitlines()[-1]  # until both have ended
    assert time.monotonic() - start_s < 60
    assert process.returncode == (-signal.SIGKILL if victim == "first" else 3)
    assert "error: a process of this training was lost after step" in error
    assert "--resume goes on from the last checkpoint" in error
    assert (folder / victim / "checkpoints" / "last.ckpt").is_file()
