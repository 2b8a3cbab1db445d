"""Time of a forward pass by part of the model, measured operation by operation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from asr.profiling.attention_steps import PROJECTIONS, step_of_kernel, watched_steps
from asr.profiling.cost import part_name, watched
from asr.profiling.latency import check_rounds, clock_ms, rounds, undisturbed

ATTENTION = "attention"
"""In a table of parts: a submodule whose operations are timed by step of attention."""
OTHER = "other"


class Call(NamedTuple):
    """A module and the arguments of a call."""

    module: nn.Module
    args: tuple[Any, ...]


class TorchOperation(NamedTuple):
    """An operation of torch that has run."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    elapsed_ms: float


def time_by_part(
    calls: Mapping[str, Call],
    parts: Mapping[str, str],
    *,
    repeats: int,
    warmup: int = 0,
    device: torch.device | str = "cpu",
    num_threads: int | None = None,
    max_point_s: float | None = None,
) -> dict[str, dict[str, float]]:
    """Return milliseconds by part for each of ``calls``, medians over alternating rounds.

    There are ``repeats`` rounds. No round begins after ``max_point_s`` seconds, but at least one is
    timed.

    ``parts`` maps submodules to parts, without layer numbers (``layers.feedforward``). Everything
    below a submodule belongs to its part, and what no entry covers to `OTHER`. The part `ATTENTION`
    is split into the steps of attention. Calls run in evaluation mode, without gradients.
    """
    check_rounds(
        "", repeats=repeats, warmup=warmup, num_threads=num_threads, max_point_s=max_point_s
    )
    device = torch.device(device)
    timed: dict[str, list[defaultdict[str, float]]] = {name: [] for name in calls}
    with undisturbed(num_threads):
        for _ in range(warmup):
            for call in calls.values():
                _time_once(call, parts, device)
        for _ in rounds(repeats, fewest=1, max_s=max_point_s):
            for name, call in calls.items():
                timed[name].append(_time_once(call, parts, device))
    return {name: _medians(times_ms) for name, times_ms in timed.items()}


def _time_once(
    call: Call, parts: Mapping[str, str], device: torch.device
) -> defaultdict[str, float]:
    times_ms: defaultdict[str, float] = defaultdict(float)

    def add(part: str, operation: TorchOperation) -> None:
        times_ms[part] += operation.elapsed_ms

    watch_operations(call, parts, add, device)
    return times_ms


def watch_operations(
    call: Call,
    parts: Mapping[str, str],
    charge: Callable[[str, TorchOperation], None],
    device: torch.device | str = "cpu",
) -> None:
    """Make ``call``, and pass every operation that is not a view to ``charge``, with its part."""
    device = torch.device(device)
    callers: list[str] = []
    linear = {name for name, one in call.module.named_modules() if isinstance(one, nn.Linear)}

    def enter(name: str) -> None:
        part = _part_of(part_name(name), parts)
        callers.append(PROJECTIONS if part == ATTENTION and name in linear else part)

    def leave() -> None:
        callers.pop()

    with watched_steps() as present_step:

        def part_of(function: Any) -> str:
            part = callers[-1] if callers else OTHER
            if part != ATTENTION:
                return part
            return step_of_kernel(function) or present_step() or OTHER

        with (
            watched(call.module, enter=enter, leave=leave),
            _Watch(part_of, charge, device),
        ):
            call.module(*call.args)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Times every operation below it and adds the time to its part."""

    def __init__(
        self,
        part_of: Callable[[Any], str],
        charge: Callable[[str, TorchOperation], None],
        device: torch.device,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._part_of = part_of
        self._charge = charge
        self._device = device

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func.is_view:
            return func(*args, **kwargs)
        start_ms = clock_ms(self._device)
        outputs = func(*args, **kwargs)
        elapsed_ms = clock_ms(self._device) - start_ms
        self._charge(self._part_of(func), TorchOperation(func, args, kwargs, outputs, elapsed_ms))
        return outputs


def _part_of(name: str, parts: Mapping[str, str]) -> str:
    while name and name not in parts:
        name = name.rpartition(".")[0]
    return parts.get(name, OTHER)


def _medians(timed: list[defaultdict[str, float]]) -> dict[str, float]:
    return {part: float(np.median([times_ms[part] for times_ms in timed])) for part in timed[0]}
