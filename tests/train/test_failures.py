from __future__ import annotations

import errno
import queue
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from asr.train.failures import OwnErrorFirst, explain
from tests.train.standin import make_batch


def worker_error() -> RuntimeError:
    error = RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    error.__cause__ = RuntimeError("DataLoader worker (pid 12) is killed by signal: Bus error. It")
    return error


def worker_missed() -> RuntimeError:
    error = RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    error.__cause__ = queue.Empty()
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "out of memory at step 8, 2 utterances of up to 320 samples and 3 tokens (utt-5-0, "
            "utt-5-1); lower data.batching.max_duration_s and raise train.trainer.accumulate",
        ),
        (worker_error(), "data worker 12 was killed (Bus error) after step 7: if memory"),
        (
            worker_missed(),
            "data worker 12, 13 exited after step 7: if memory",
        ),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "a data worker was lost after step 7"),
        (EOFError(), "a data worker was lost after step 7: if memory"),
        (
            RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection reset by peer"),
            "a process of this training was lost after step 7 ([gloo",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "metrics.csv"),
            "metrics.csv: No space left on device after step 7: make room",
        ),
    ],
)
def test_what_happens_to_machines_is_told(error: Exception, words: str) -> None:
    told = explain(error, step=7, batch=make_batch(5, num_utterances=2))
    assert told is not None
    assert str(told).startswith(words)
    assert str(told).endswith("; --resume goes on from the last checkpoint")


@pytest.mark.parametrize("error", [RuntimeError("a defect"), OSError(errno.EIO, "I/O error")])
def test_what_else_happens_is_left_unchanged(error: Exception) -> None:
    assert explain(error, step=7, batch=None) is None


Process = subprocess.Popen[bytes]


@pytest.fixture
def main() -> Iterator[Process]:
    """A process that only waits."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def lost() -> Process:
    """A process that has failed."""
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    process.wait()
    return process


def trainer(launcher: Any) -> Any:
    return SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))


@pytest.mark.parametrize("has_error", [False, True])
def test_a_process_with_an_error_is_not_killed(
    main: Process, lost: Process, has_error: bool
) -> None:
    launcher = SimpleNamespace(procs=[lost])
    observer = _ChildProcessObserver(main_pid=main.pid, child_processes=launcher.procs)
    if has_error:
        OwnErrorFirst().on_exception(trainer(launcher), None, RuntimeError())  # type: ignore[arg-type]
    assert observer._run()
    if has_error:
        assert main.poll() is None
    else:
        assert main.wait(timeout=10) != 0


def test_an_abort_still_reaches_the_others(lost: Process) -> None:
    launcher = SimpleNamespace(procs=[lost])
    OwnErrorFirst().on_exception(trainer(launcher), None, KeyboardInterrupt())  # type: ignore[arg-type]
    assert launcher.procs == [lost]


def test_one_process_has_no_launcher() -> None:
    OwnErrorFirst().on_exception(trainer(None), None, RuntimeError())  # type: ignore[arg-type]
