"""What a job of a cluster does. Starts without PyTorch, as :mod:`asr.cli.launch`."""

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
    """`asr train` of one variant, ``name``, in ``folder``; ``trainer`` is its ``train.trainer``.

    ``options`` are further ones of the command; ``python`` runs it. A folder with a partial run is
    resumed.
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
        """What a shell would be given."""
        words = [self.python, "-m", "asr", "train", str(self.recipe), *self.overrides]
        return [*words, "--run-dir", str(self.folder), "--resume", "--no-latency", *self.options]

    @property
    def log(self) -> Path:
        """Where the run writes how it gets on."""
        return self.folder / LOG_FILE

    def begin(
        self,
        *,
        cwd: Path | None = None,
        num_threads: int | None = None,
        preexec: Callable[[], None] | None = None,
        is_own_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start it in the folder ``cwd``, with so many CPU threads where that is given.

        It stops when this process is no more. In a session of its own it hears nothing of the
        terminal.
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
