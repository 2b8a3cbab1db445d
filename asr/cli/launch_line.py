"""What to type so that several processes train together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from asr.types import InputError

_PORT = 29500
_STARTED = ("RANK", "SLURM_PROCID", "NODE_RANK")  # by torchrun, srun, or as Lightning asks by hand


def launch_lines(trainer: Mapping[str, Any], words: Sequence[str]) -> dict[str, str]:
    """The commands by launcher; ``words`` are those of `asr train`, ``trainer`` its settings.

    That of `torchrun` is for each machine, where FIRST is the name of one of them.
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
    """What to say of the processes of a run; None of a single one.

    Raises:
        InputError: a run on several machines that was started on one, or one that was started as
            another number of processes.
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
    """How many processes `torchrun` or `srun` has started; None where neither has."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return int(environment["WORLD_SIZE"])
    is_shell = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")  # as Lightning has it
    num_tasks = environment.get("SLURM_STEP_NUM_TASKS")
    return None if num_tasks is None or is_shell else int(num_tasks)
