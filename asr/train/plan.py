"""How many optimiser steps a run takes, told before the first one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from asr.train.state import RunState
from asr.train.trainer import TrainerSpec
from asr.types import InputError


class Epochs(Protocol):
    """What a plan asks of a loader."""

    def num_batches(self, epoch: int, num_processes: int) -> int:
        """Batches of ``epoch`` for each of ``num_processes`` that share it."""

    def batch_at(self, position: Mapping[str, Any], num_processes: int) -> int:
        """Batches of its epoch behind ``position`` where ``num_processes`` share the rest."""


def plan_steps(trainer: TrainerSpec, loader: Epochs, state: RunState) -> int | None:
    """Steps of the whole run, those behind ``state`` included; None where minutes alone end it.

    A run of ``max_epochs`` ends with the step that takes the last batch of the last epoch. Epochs
    may differ in length, and so may the steps of a run that goes on with other batches,
    accumulation or processes. ``state.plan`` keeps the result; as long as nothing of that changes,
    a resumed run follows the plan it was begun with.

    Raises:
        InputError: an epoch has fewer batches than there are processes.
    """
    check_share(trainer, loader)
    limits = [trainer.max_steps]
    if trainer.max_epochs is not None:
        limits.append(_steps_of_epochs(trainer.max_epochs, trainer, loader, state))
    return min((limit for limit in limits if limit is not None), default=None)


def check_share(trainer: TrainerSpec, loader: Epochs) -> None:
    """Raise InputError unless every process gets a batch of every epoch."""
    if trainer.num_processes == 1:
        return
    fewest = min(loader.num_batches(epoch, 1) for epoch in (0, 1))
    if fewest < trainer.num_processes:
        raise InputError(
            f"an epoch has {fewest} batches, fewer than the {trainer.num_processes} processes "
            "(train.trainer.devices x num_nodes) that share it: lower "
            "data.batching.max_duration_s, or train with fewer processes"
        )


def _steps_of_epochs(max_epochs: int, trainer: TrainerSpec, loader: Epochs, state: RunState) -> int:
    settings = {
        "max_epochs": max_epochs,
        "accumulate": trainer.accumulate,
        "num_processes": trainer.num_processes,
        "batches": [loader.num_batches(epoch, 1) for epoch in (0, 1)],
    }
    if state.plan.get("settings") != settings:
        epoch, behind = 0, 0
        if state.position:
            epoch = int(state.position["epoch"])
            behind = loader.batch_at(state.position, trainer.num_processes)
        ahead = sum(
            loader.num_batches(each, trainer.num_processes) for each in range(epoch, max_epochs)
        )
        num_steps = state.num_steps + math.ceil(max(0, ahead - behind) / trainer.accumulate)
        state.plan = {"settings": settings, "num_steps": max(1, num_steps)}
    return int(state.plan["num_steps"])
