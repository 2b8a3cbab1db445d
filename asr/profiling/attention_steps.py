"""The steps of attention, marked where they are computed.

Names of modules do not tell scores from mix: a map may be made in another layer, or come tile by
tile. So the code of attention says itself what it is doing::

    with scoring:
        scores_BHRT = q_BHRK @ k_BHKT

and `watched_steps` tells a profiler which of the marks is the innermost at the moment. While nobody
watches, a mark is one comparison. A generator must leave its mark before it yields, because what
its caller does meanwhile is another step.

Some operations need no mark: the products of an ``nn.Linear`` are projections, and kernels of
softmax, of fused attention and of products in 8 bits are known by their names.
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
"""The parts of attention in the order in which they run; FUSED stands for the last three."""

_running: list[str] | None = None  # marks entered and not left, None while nobody watches


class Step:
    """A mark: ``with step:`` around code, or ``@step`` above a function that is no generator."""

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
        """``function`` with this mark on all that it does."""

        @wraps(function)
        def marked(*args: P.args, **kwargs: P.kwargs) -> R:
            if _running is None:
                return function(*args, **kwargs)
            with self:
                return function(*args, **kwargs)

        return marked


projecting, scoring, normalising, mixing, fused = map(Step, STEPS)
"""Marks for code that prepares queries, keys and values, that compares them, that takes the
softmax (masks included), that weighs values, and that does the last three in one kernel."""


@contextmanager
def watched_steps() -> Iterator[Callable[[], str | None]]:
    """Gives a function that names the innermost mark, None outside all of them.

    One watcher at a time, in one thread.
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
    """The step of an operation (an overload of ``torch.ops``) whose name tells it, else None."""
    name = operation.overloadpacket.__name__
    if "attention" in name:
        return FUSED
    if name == "linear_dynamic":
        return PROJECTIONS
    return SOFTMAX if "softmax" in name else None
