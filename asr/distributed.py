"""The processes that train together: which one this is, and what they know jointly."""

from __future__ import annotations

import os
from typing import TypeVar

from torch import distributed

_T = TypeVar("_T")
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, Lightning and SLURM, until they meet


def num_processes() -> int:
    """How many train together; 1 until they have met, unless the environment says so."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Number of this process among them, from 0."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), 0)


def is_first() -> bool:
    """Whether this is the process that prints, writes and scores."""
    return rank() == 0


def of_all_processes(value: _T) -> list[_T]:
    """The ``value`` of each of them, in order; all must call it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[_T | None] = [None] * num_processes()
    distributed.all_gather_object(values, value)
    return [each for each in values if each is not None]
