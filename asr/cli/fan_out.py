"""Training runs side by side, each a job of its own that a launcher starts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from asr.cli.train_process import TrainProcess
from asr.types import InputError


class Job(Protocol):
    """A run under way."""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""

    def cancel(self) -> None:
        """End it, unless Ctrl-C has reached it anyway."""

    @property
    def log(self) -> Path:
        """The file that says why it failed."""


class Launcher(Protocol):
    """Starts runs, ``num_jobs`` at a time, and looks after them every ``poll_s`` seconds."""

    num_jobs: int
    poll_s: float

    def start(self, run: TrainProcess, /) -> Job:
        """Begin ``run``, which appends its progress to ``run.log``."""


def train_all(
    runs: Sequence[TrainProcess],
    launcher: Launcher,
    *,
    is_done: Callable[[TrainProcess], bool] = lambda run: False,
) -> None:
    """Train every one of ``runs``; one that ``is_done`` has not failed, whatever its exit code.

    Their progress lines appear on standard error behind their names, and in their logs. Ctrl-C, or
    a launcher that fails, cancels what is under way and starts nothing more.

    Raises:
        InputError: a run failed; the others are finished first.
    """
    waiting = list(runs)
    under_way: list[tuple[TrainProcess, Job, _LogTail]] = []
    failed: list[tuple[str, Path]] = []
    try:
        while waiting or under_way:
            while waiting and len(under_way) < launcher.num_jobs:
                run = waiting.pop(0)
                run.folder.mkdir(parents=True, exist_ok=True)
                tail = _LogTail(run)
                under_way.append((run, launcher.start(run), tail))
            time.sleep(launcher.poll_s)
            for entry in list(under_way):
                run, job, tail = entry
                code = job.poll()
                tail.show()
                if code is not None:
                    under_way.remove(entry)
                    if code != 0 and not is_done(run):
                        failed.append((run.name, job.log))
    except BaseException:
        for _, job, _ in under_way:
            job.cancel()
        for _, job, tail in under_way:
            while job.poll() is None:
                tail.show()
                time.sleep(launcher.poll_s)
            tail.show()
        raise
    if failed:
        names, logs = zip(*failed, strict=True)
        raise InputError(
            f"training of {', '.join(names)} did not finish; see {', '.join(map(str, logs))}"
        )


class _LogTail:
    """Shows what is added to the log of ``run`` from here on."""

    def __init__(self, run: TrainProcess) -> None:
        self._run = run
        self._position = run.log.stat().st_size if run.log.is_file() else 0

    def show(self) -> None:
        """Print the lines that are new, each whole."""
        if not self._run.log.is_file():
            return
        with self._run.log.open("rb") as file:
            file.seek(self._position)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._position += len(lines) + len(newline)
        for line in lines.decode(errors="replace").splitlines():
            print(f"[{self._run.name}] {line}", file=sys.stderr, flush=True)
