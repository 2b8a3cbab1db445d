"""What a job of a cluster does. Starts without PyTorch, as :mod:`asr.cli.launch`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from asr.cli.launch import TrainProcess

_INTERRUPTED = 130  # the exit code of `asr train` after SIGTERM
_WAIT_S = 60.0


class TrainingJob:
    """What a process of a job does: `asr train`, in the folder where it was submitted.

    Before a time limit or a preemption submitit calls :meth:`checkpoint`, which lets training save
    itself, and then queues the job again; SIGTERM may have come before, to every process.
    """

    def __init__(self, run: TrainProcess, *, num_threads: int | None) -> None:
        self._run = run
        self._num_threads = num_threads
        self._cwd = Path.cwd()
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Train to the end; returns the exit code."""
        self._process = self._run.begin(
            cwd=self._cwd, num_threads=self._num_threads, preexec=_ignore_the_signal_of_the_job
        )
        try:
            code = self._process.wait()
            if code == _INTERRUPTED:  # by the cluster, which says next whether it is over
                time.sleep(_WAIT_S)
            return code
        finally:
            self._stop()

    def checkpoint(self) -> Any:
        """Stop training, and say what the job shall do when its turn comes again."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        return DelayedSubmission(self)

    def _stop(self) -> None:
        """Let training end after its step, with a checkpoint."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        # `wait` would wait for itself: this runs inside one, as the handler of a signal.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def __getstate__(self) -> Mapping[str, Any]:
        return {**self.__dict__, "_process": None}


def _ignore_the_signal_of_the_job() -> None:
    """SLURM may send it to every process of the job; it is for the one that submitit started."""
    from submitit.core.job_environment import JobEnvironment

    signal.signal(JobEnvironment._usr_sig(), signal.SIG_IGN)
