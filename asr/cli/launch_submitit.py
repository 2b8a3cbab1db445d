"""Training runs as jobs of a SLURM cluster, through submitit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from asr.cli.options import number_in
from asr.cli.parser import did_you_mean
from asr.cli.run_summary import log
from asr.cli.training_job import TrainingJob, TrainProcess
from asr.errors import InputError, check_installed
from asr.ranges import Range

_OPTION = "--launcher-options"
_CLUSTERS = ("slurm", "local")


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherOptions:
    """Resources of every run; ``train.trainer`` sets the number of machines and processes.

    Args:
        cluster: ``slurm``, or ``local`` for jobs of submitit on this machine.
        partition: partition of SLURM; None for the cluster's default.
        hours: time limit; a run that reaches it is queued again and resumes.
        gpus: GPUs on each machine; None: ``train.trainer.devices`` if
            ``train.trainer.accelerator`` is ``gpu``, else none.
        cpus: CPU cores of each process.
        memory_gb: memory on each machine.
        slurm: further parameters of ``sbatch``, from ``slurm.<name>=<value>``.
    """

    cluster: str = "slurm"
    partition: str | None = None
    hours: float = 24.0
    gpus: int | None = None
    cpus: int | None = None
    memory_gb: float | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)

    def num_gpus(self, trainer: Mapping[str, Any]) -> int:
        """Return the GPUs per machine for a run with these settings of ``train.trainer``."""
        if self.gpus is not None:
            return self.gpus
        return int(trainer["devices"]) if trainer["accelerator"] == "gpu" else 0


def parse_launcher_options(words: Sequence[str]) -> LauncherOptions:
    """Parse ``words`` into options.

    Raises:
        InputError: an option does not exist, or a value is outside its range.
    """
    values: dict[str, Any] = {}
    slurm: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise InputError(f"{_OPTION} {word}: write key=value")
        if key.startswith("slurm.") and key != "slurm.":
            slurm[key.removeprefix("slurm.")] = value
        elif key in _READ:
            values[key] = _READ[key](key, value)
        else:
            hint = did_you_mean(key, _READ) or f"; allowed: {', '.join(_READ)}, slurm.<name>"
            raise InputError(f"{_OPTION}: unknown key {key}{hint}")
    return LauncherOptions(**values, slurm=slurm)


def _cluster(key: str, text: str) -> str:
    if text not in _CLUSTERS:
        raise InputError(f"{_OPTION} {key}={text}: allowed: {', '.join(_CLUSTERS)}")
    return text


def _text(key: str, text: str) -> str:
    return text


def _number(hint: Any) -> Callable[[str, str], Any]:
    def read(key: str, text: str) -> Any:
        try:
            return number_in(text, hint)
        except ValueError as error:
            raise InputError(f"{_OPTION} {key}={error}") from None

    return read


_READ: dict[str, Callable[[str, str], Any]] = {
    "cluster": _cluster,
    "partition": _text,
    "hours": _number(Annotated[float, Range(0, 10_000, above=True)]),
    "gpus": _number(Annotated[int, Range(0, 1024)]),
    "cpus": _number(Annotated[int, Range(1, 1024)]),
    "memory_gb": _number(Annotated[float, Range(0, 1e6, above=True)]),
}


_ASK_EVERY_S = 60.0  # between queries of SLURM's accounting; results are looked for at every poll
_SIGNAL_DELAY_S = 180  # between signal and end, for a step and a checkpoint
_MAX_TIME_LIMITS = 1000  # times that a run may reach its time limit and resume
_INTERRUPTED = 130


class SubmititLauncher:
    """A launcher that submits runs with ``options``.

    A job has ``train.trainer.devices`` processes on each of ``num_nodes`` machines. A run's job
    files are in ``submitit/`` of its folder. Run folders must be on a file system that the cluster
    shares.

    Raises:
        InputError: submitit is not installed, or there is no SLURM here.
    """

    poll_s = 0.5

    def __init__(self, options: LauncherOptions, *, num_jobs: int) -> None:
        self.num_jobs = num_jobs
        check_installed("--launcher submitit", ("submitit",), extra="cluster")
        self._options = options
        if options.cluster == "slurm":
            from submitit import SlurmExecutor

            if SlurmExecutor.affinity() <= 0:
                raise InputError(
                    "--launcher submitit: no srun, so no SLURM, on this machine; run it where jobs "
                    "are submitted, or on this machine by --launcher-options cluster=local"
                )

    def start(self, run: TrainProcess) -> SubmittedJob:
        """Submit ``run``.

        Raises:
            InputError: SLURM refuses the job.
        """
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = AutoExecutor(
            run.folder.absolute() / "submitit",
            cluster=self._options.cluster,
            slurm_max_num_timeout=_MAX_TIME_LIMITS,
        )
        executor.update_parameters(**self.parameters(run))
        program = TrainingJob(run, num_threads=self._options.cpus)
        try:
            job = executor.submit(program)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            reason = str(error).strip().splitlines()[-1:]
            raise InputError(f"{run.name}: not submitted: {''.join(reason)}") from error
        log(f"{run.name}: job {job.job_id}, log {run.log}")
        return SubmittedJob(job, run)

    def parameters(self, run: TrainProcess) -> dict[str, Any]:
        """Return the parameters for submitit."""
        options = self._options
        asked: dict[str, Any] = {
            "name": run.name,
            "timeout_min": max(1, round(60 * options.hours)),
            "gpus_per_node": options.num_gpus(run.trainer),
            "cpus_per_task": options.cpus,
            "mem_gb": options.memory_gb,
        }
        if options.cluster == "slurm":
            asked |= {
                "nodes": int(run.trainer["num_nodes"]),
                "tasks_per_node": int(run.trainer["devices"]),
                "slurm_partition": options.partition,
                "slurm_signal_delay_s": _SIGNAL_DELAY_S,
                "slurm_additional_parameters": dict(options.slurm),
            }
        return asked


class SubmittedJob:
    """A job of submitit."""

    def __init__(self, job: Any, run: TrainProcess) -> None:
        self._job = job
        self._run = run
        self._is_cancelled = False
        self._asked_s = time.monotonic()

    def poll(self) -> int | None:
        """Return the exit code, 1 if the job left none; None while it waits or runs."""
        from submitit.core.utils import UncompletedJobError

        if self._is_cancelled:
            return _INTERRUPTED
        is_due = time.monotonic() - self._asked_s > _ASK_EVERY_S
        if is_due:
            self._asked_s = time.monotonic()
        if not self._job.done(force_check=is_due):
            return None
        try:
            return max(abs(int(code)) for code in self._job.results())
        except UncompletedJobError:
            return 1

    def cancel(self) -> None:
        """Cancel the job; training has time to write a checkpoint."""
        self._is_cancelled = True
        self._job.cancel(check=False)
        log(f"{self._run.name}: job {self._job.job_id} cancelled")

    @property
    def log(self) -> Path:
        """The run's own log, or the job's if training did not begin."""
        has_begun = self._run.log.is_file() and self._run.log.stat().st_size > 0
        return self._run.log if has_begun else Path(self._job.paths.stderr)
