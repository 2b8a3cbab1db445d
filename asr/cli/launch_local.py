"""Training runs as processes of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from asr.cli.train_process import TrainProcess


class LocalLauncher:
    """Starts runs as processes, which share out the CPU threads evenly."""

    poll_s = 0.1

    def __init__(self, *, num_jobs: int) -> None:
        self.num_jobs = num_jobs
        self._num_threads = max(1, (os.cpu_count() or 1) // num_jobs)

    def start(self, run: TrainProcess) -> LocalJob:
        """Begin ``run`` in a fresh process."""
        return LocalJob(run, num_threads=self._num_threads)


class LocalJob:
    """The process of ``run``; Ctrl-C in the terminal reaches it too: it stops after its step."""

    def __init__(self, run: TrainProcess, *, num_threads: int) -> None:
        self.log: Path = run.log
        self._process = run.begin(num_threads=num_threads)

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def cancel(self) -> None:
        """Nothing: a signal beside that of the terminal would abort the step under way."""
