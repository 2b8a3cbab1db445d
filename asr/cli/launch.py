"""Running several training runs in parallel, as processes or jobs."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from asr.cli.training_job import TrainProcess
from asr.errors import InputError
from asr.profiling.hardware import num_cores

_PORT = 29500
_STARTED = ("RANK", "SLURM_PROCID", "NODE_RANK")  # set by torchrun, srun, or by hand for Lightning


def launch_lines(trainer: Mapping[str, Any], words: Sequence[str]) -> dict[str, str]:
    """Return the command of each launcher for `asr train` with arguments ``words``.

    The `torchrun` command runs on every machine; FIRST is the name of one of them.
    """
    num_nodes, num_devices = int(trainer["num_nodes"]), int(trainer["devices"])
    place = (
        ["--standalone"]
        if num_nodes == 1
        else [f"--nnodes={num_nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint=FIRST:{_PORT}"]
    )
    tasks = [f"--nodes={num_nodes}", f"--ntasks-per-node={num_devices}"]
    if trainer["accelerator"] == "gpu":
        tasks.append(f"--gpus-per-node={num_devices}")
    train = ["-m", "asr", "train", *words]
    return {
        "torchrun": shlex.join(["torchrun", *place, f"--nproc-per-node={num_devices}", *train]),
        "srun": shlex.join(["srun", *tasks, "python", *train]),
    }


def describe_launch(
    trainer: Mapping[str, Any], words: Sequence[str], environment: Mapping[str, str]
) -> str | None:
    """Describe the processes of a run; None for a single one.

    Raises:
        InputError: a run for several machines was started on one, or the number of processes is
            wrong.
    """
    num_nodes, num_devices = int(trainer["num_nodes"]), int(trainer["devices"])
    started = num_started(environment)
    if started not in (None, num_nodes * num_devices):
        raise InputError(
            f"train.trainer.num_nodes={num_nodes} and devices={num_devices} make "
            f"{num_nodes * num_devices} processes, but {started} were started; set both to match"
        )
    if num_nodes * num_devices == 1:
        return None
    lines = launch_lines(trainer, words)
    if num_nodes > 1 and not any(name in environment for name in _STARTED):
        raise InputError(
            f"train.trainer.num_nodes={num_nodes}: start it on every machine by "
            f"`{lines['torchrun']}`, FIRST being one of them, or on all by `{lines['srun']}`"
        )
    strategy = "ddp" if trainer["strategy"] == "auto" else trainer["strategy"]
    return (
        f"{num_nodes} x {num_devices} processes, {strategy}; by torchrun: {lines['torchrun']}; "
        f"on SLURM: {lines['srun']}"
    )


def num_started(environment: Mapping[str, str]) -> int | None:
    """Return the number of processes started by `torchrun` or `srun`; None if neither did."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return int(environment["WORLD_SIZE"])
    is_shell = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")  # Lightning's rule
    num_tasks = environment.get("SLURM_STEP_NUM_TASKS")
    return None if num_tasks is None or is_shell else int(num_tasks)


class Job(Protocol):
    """A started run."""

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""

    def cancel(self) -> None:
        """End the run, unless Ctrl-C has reached it already."""

    @property
    def log(self) -> Path:
        """File with the reason of a failure."""


class Launcher(Protocol):
    """A starter of runs, ``num_jobs`` at a time, which are polled every ``poll_s`` seconds."""

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
    """Train all ``runs``; a run that ``is_done`` counts as successful with any exit code.

    Their progress lines appear on standard error after their names, and in their logs. Ctrl-C, or a
    failing launcher, cancels the started runs and starts no more.

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
    """A printer of the lines that are added to the log of ``run`` from now on."""

    def __init__(self, run: TrainProcess) -> None:
        self._run = run
        self._position = run.log.stat().st_size if run.log.is_file() else 0

    def show(self) -> None:
        """Print the new complete lines."""
        if not self._run.log.is_file():
            return
        with self._run.log.open("rb") as file:
            file.seek(self._position)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._position += len(lines) + len(newline)
        for line in lines.decode(errors="replace").splitlines():
            print(f"[{self._run.name}] {line}", file=sys.stderr, flush=True)


class LocalLauncher:
    """A launcher of runs as processes, with an equal share of the CPU threads each."""

    poll_s = 0.1

    def __init__(self, *, num_jobs: int) -> None:
        self.num_jobs = num_jobs
        self._num_threads = max(1, num_cores() // num_jobs)

    def start(self, run: TrainProcess) -> LocalJob:
        """Begin ``run`` in a fresh process."""
        return LocalJob(run, num_threads=self._num_threads)


class LocalJob:
    """The process of ``run``.

    The terminal's Ctrl-C reaches only the parent, which then cancels this process. If the parent is
    killed, this process stops too: see :mod:`asr.cli.parent`.
    """

    def __init__(self, run: TrainProcess, *, num_threads: int) -> None:
        self.log: Path = run.log
        self._process = run.begin(num_threads=num_threads, is_own_session=True)

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.poll()

    def cancel(self) -> None:
        """Let the run stop after its step, with a checkpoint."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
