from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from asr.train.failures import LastWords

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
        LastWords().on_exception(trainer(launcher), None, RuntimeError())  # type: ignore[arg-type]
    assert observer._run()
    if has_error:
        assert main.poll() is None
    else:
        assert main.wait(timeout=10) != 0


def test_an_abort_still_reaches_the_others(lost: Process) -> None:
    launcher = SimpleNamespace(procs=[lost])
    LastWords().on_exception(trainer(launcher), None, KeyboardInterrupt())  # type: ignore[arg-type]
    assert launcher.procs == [lost]


def test_one_process_has_no_launcher() -> None:
    LastWords().on_exception(trainer(None), None, RuntimeError())  # type: ignore[arg-type]
