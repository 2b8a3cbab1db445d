"""Training runs as processes of this machine."""

from __future__ import annotations

import signal
from pathlib import Path

from asr.cli.train_process import TrainProcess
from asr.report.hardware import num_cores


class LocalLauncher:
    """Starts runs as processes, which share out the CPU threads evenly."""

    poll_s = 0.1

    def __init__(self, *, num_jobs: int) -> None:
        self.num_jobs = num_jobs
        self._num_threads = max(1, num_cores() // num_jobs)

    def start(self, run: TrainProcess) -> LocalJob:
        """Begin ``run`` in a fresh process."""
        return LocalJob(run, num_threads=self._num_threads)


class LocalJob:
    """The process of ``run``.

    The terminal's Ctrl-C reaches the parent alone, which cancels; a parent that is killed takes it
    along: see :mod:`asr.cli.parent`.
    """

    def __init__(self, run: TrainProcess, *, num_threads: int) -> None:
        self.log: Path = run.log
        self._process = run.begin(num_threads=num_threads, is_own_session=True)

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def cancel(self) -> None:
        """Have it stop after its step, with a checkpoint."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
