"""Distributed training: rank, number of processes, and gathering values from all of them."""

from __future__ import annotations

import os
from typing import TypeVar

from torch import distributed

_T = TypeVar("_T")
_RANKS = (
    "RANK",
    "LOCAL_RANK",
    "SLURM_PROCID",
)  # set by torchrun, Lightning and SLURM before initialisation


def num_processes() -> int:
    """Return the number of processes; before initialisation, that of the environment, or 1."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Return the rank of this process, from 0."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), 0)


def is_first() -> bool:
    """Return whether this is the process that prints, writes and scores."""
    return rank() == 0


def gather_from_all(value: _T) -> list[_T]:
    """Gather the ``value`` of every process, in order of rank; each process must call this."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[_T | None] = [None] * num_processes()
    distributed.all_gather_object(values, value)
    return [each for each in values if each is not None]
