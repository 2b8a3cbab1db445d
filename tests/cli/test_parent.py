"""Runs that a comparison started end with it, and are saved, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asr.cli.parent import PARENT, as_parent, ended_like_ctrl_c
from asr.report.record import RunRecord

from .runs import environment, write_corpus, write_recipe

ENDLESS = [
    *("train.trainer.max_steps=100000", "train.optim.warmup_fraction=0.0001"),
    *("train.trainer.validate_every_epochs=null", "train.trainer.print_every_s=0.01"),
]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int, limit_s: float = 60) -> None:
    end_s = time.monotonic() + limit_s
    while is_alive(pid):
        assert time.monotonic() < end_s, "the run goes on without its parent"
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_run_ends_with_the_comparison(tmp_path: Path, name: str) -> None:
    write_recipe(tmp_path / "tones.yaml", write_corpus(tmp_path / "corpus"))
    with subprocess.Popen(
        [sys.executable, "-m", "asr", "compare", "tones.yaml", "reuse=none", *ENDLESS],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "] step " in line:
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (child,) = map(int, children)
        os.kill(process.pid, getattr(signal, name))
        process.wait(60)
        wait_until_gone(child)
        said = process.stderr.read()
    assert process.returncode == (-signal.SIGKILL if name == "SIGKILL" else 130)
    assert "Traceback" not in said
    (run,) = (tmp_path / "runs" / "tones").iterdir()
    assert "SIGTERM: stopping after this step" in (run / "train.log").read_text()
    training = RunRecord.load(run).training
    assert training is not None
    assert training.interrupted
    assert training.num_steps > 0


def test_a_signal_that_is_ignored_stays_so() -> None:
    assert as_parent() == {PARENT: str(os.getpid())}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_like_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
