"""Training runs as processes and cluster jobs. Imports no PyTorch, like :mod:`asr.cli.launch`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.cli.parent import as_parent
from asr.cli.run_log import LOG_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainProcess:
    """`asr train` of the variant ``name`` in ``folder``; ``trainer`` is its ``train.trainer``.

    ``options`` are further options of the command; ``python`` is its interpreter. A partial run in
    the folder is resumed.
    """

    name: str
    recipe: Path
    overrides: Sequence[str]
    folder: Path
    trainer: Mapping[str, Any]
    options: Sequence[str] = ()
    python: str = sys.executable

    @property
    def command(self) -> list[str]:
        """Return the command as words."""
        words = [self.python, "-m", "asr", "train", str(self.recipe), *self.overrides]
        return [*words, "--run-dir", str(self.folder), "--resume", "--no-latency", *self.options]

    @property
    def log(self) -> Path:
        """The file for the run's progress."""
        return self.folder / LOG_FILE

    def begin(
        self,
        *,
        cwd: Path | None = None,
        num_threads: int | None = None,
        preexec: Callable[[], None] | None = None,
        is_own_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start the command in the folder ``cwd``, with ``num_threads`` CPU threads if given.

        It stops when this process ends. In its own session it gets no signals of the terminal.
        """
        threads = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
        with (cwd or Path()).joinpath(self.log).open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **threads, "PYTHONUNBUFFERED": "1", **as_parent()},
                preexec_fn=preexec,
                start_new_session=is_own_session,
            )


_INTERRUPTED = 130  # the exit code of `asr train` after SIGTERM
_WAIT_S = 60.0


class TrainingJob:
    """A process of a job: runs `asr train` in the folder where the job was submitted.

    Before a time limit or a preemption, submitit calls :meth:`checkpoint`, which stops training
    with a checkpoint, and then queues the job again. Every process may have got SIGTERM before.
    """

    def __init__(self, run: TrainProcess, *, num_threads: int | None) -> None:
        self._run = run
        self._num_threads = num_threads
        self._cwd = Path.cwd()
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Train to the end; return the exit code."""
        self._process = self._run.begin(
            cwd=self._cwd, num_threads=self._num_threads, preexec=_ignore_the_signal_of_the_job
        )
        try:
            code = self._process.wait()
            if code == _INTERRUPTED:  # by the cluster, which then queues or ends the job
                time.sleep(_WAIT_S)
            return code
        finally:
            self._stop()

    def checkpoint(self) -> Any:
        """Stop training; return the work for the job when it is started again."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        return DelayedSubmission(self)

    def _stop(self) -> None:
        """Let training end after its step, with a checkpoint."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        # `wait` would deadlock: this signal handler runs inside a `wait`.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def __getstate__(self) -> Mapping[str, Any]:
        return {**self.__dict__, "_process": None}


def _ignore_the_signal_of_the_job() -> None:
    """Ignore the job's signal: SLURM may send it to every process, but submitit handles it."""
    from submitit.core.job_environment import JobEnvironment

    signal.signal(JobEnvironment._usr_sig(), signal.SIG_IGN)
