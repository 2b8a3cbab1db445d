"""Activation checkpointing: a run of layers keeps its input alone, and is run again for gradients.

Chen et al. 2016 (Training deep nets with sublinear memory cost). What is handed on inside a reuse
group need not be kept where the whole group is run again; layer by layer, the carry is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal, TypeVar

from torch import nn
from torch.utils.checkpoint import checkpoint

from asr.nn.valid_batch_norm import statistics_kept
from asr.reuse.schedule import Role, Schedule

Checkpointing = Literal["none", "layers", "groups"]
Result = TypeVar("Result")


def stretches(schedule: Schedule, checkpointing: Checkpointing) -> list[range]:
    """The layers that are run again together; all are one stretch where there is none of it.

    ``groups`` are leaders with the followers behind them, and single layers where nobody leads.
    """
    starts = [
        role.layer
        for role in schedule
        if role.layer == 0
        or checkpointing == "layers"
        or (checkpointing == "groups" and role.role is not Role.FOLLOW)
    ]
    stops = [*starts[1:], len(schedule)]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def run_twice(module: nn.Module, function: Callable[[], Result]) -> Result:
    """What ``function`` gives of ``module``; its backward pass calls it again, for activations.

    The second run draws the same random numbers and leaves no trace in running statistics.
    """
    result: Result = checkpoint(
        function,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), statistics_kept(module)),
    )
    return result
