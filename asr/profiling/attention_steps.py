"""Marks in the code that say which step of attention is running.

Module names do not separate scores from mix: a map may be computed in another layer, or tile by
tile. The code of attention therefore marks its steps::

    with scoring:
        scores_BHRT = q_BHRK @ k_BHKT

and `watched_steps` gives a profiler the innermost active mark. Without a profiler, a mark costs one
comparison. A generator must leave its mark before it yields, because its caller's work belongs to
another step.

Some operations need no mark: the products of an ``nn.Linear`` are projections, and kernels for
softmax, fused attention and 8-bit products are recognised by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

PROJECTIONS, SCORES, SOFTMAX, MIX, FUSED = (
    "projections",
    "scores",
    "softmax",
    "mix",
    "fused attention",
)
STEPS = (PROJECTIONS, SCORES, SOFTMAX, MIX, FUSED)
"""The steps of attention in the order in which they run; FUSED stands for the last three."""

_running: list[str] | None = None  # active marks, None without a profiler


class Step:
    """A mark: ``with step:`` around code, or ``@step`` above a function that is not a generator."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        if _running is not None:
            _running.append(self.name)

    def __exit__(self, *_: object) -> None:
        if _running is not None:
            _running.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return ``function`` with all its work marked as this step."""

        @wraps(function)
        def marked(*args: P.args, **kwargs: P.kwargs) -> R:
            if _running is None:
                return function(*args, **kwargs)
            with self:
                return function(*args, **kwargs)

        return marked


projecting, scoring, normalising, mixing, fused = map(Step, STEPS)
"""Marks for code that projects queries, keys and values, that compares queries with keys, that
takes the softmax (masks included), that mixes values, and that does the last three in one
kernel."""


@contextmanager
def watched_steps() -> Iterator[Callable[[], str | None]]:
    """Yield a function that returns the innermost active mark, None if there is none.

    There can be one watcher at a time, in one thread.
    """
    global _running
    assert _running is None, "the steps of attention are watched already"
    running: list[str] = []
    _running = running
    try:
        yield lambda: running[-1] if running else None
    finally:
        _running = None


def step_of_kernel(operation: Any) -> str | None:
    """Return the step that an operation of ``torch.ops`` has by its name, else None."""
    name = operation.overloadpacket.__name__
    if "attention" in name:
        return FUSED
    if name == "linear_dynamic":
        return PROJECTIONS
    return SOFTMAX if "softmax" in name else None
