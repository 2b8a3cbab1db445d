"""What a run asks of a cluster: `--launcher-options key=value …`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from asr.cli.numbers import number_in
from asr.cli.suggest import did_you_mean
from asr.ranges import Range
from asr.types import InputError

_OPTION = "--launcher-options"
_CLUSTERS = ("slurm", "local")


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherOptions:
    """Resources of every run; machines and processes are those of ``train.trainer``.

    Args:
        cluster: ``slurm``, or ``local`` for jobs of submitit on this machine.
        partition: of SLURM; None takes the cluster's own default.
        hours: time limit; a run that reaches it is queued again and goes on.
        gpus: on each machine; None takes ``train.trainer.devices`` where
            ``train.trainer.accelerator`` is ``gpu``, and none elsewhere.
        cpus: CPU cores of each process.
        memory_gb: on each machine.
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
        """GPUs on each machine for a run with these settings of ``train.trainer``."""
        if self.gpus is not None:
            return self.gpus
        return int(trainer["devices"]) if trainer["accelerator"] == "gpu" else 0


def parse_launcher_options(words: Sequence[str]) -> LauncherOptions:
    """The options that ``words`` spell.

    Raises:
        InputError: an option that does not exist, or a value outside its range.
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
