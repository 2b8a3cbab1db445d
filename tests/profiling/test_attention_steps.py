"""Marks around the steps of attention."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from asr.profiling.attention_steps import (
    FUSED,
    MIX,
    SCORES,
    SOFTMAX,
    mixing,
    scoring,
    step_of_kernel,
    watched_steps,
)


@scoring
def compare(x: float, *, times: float = 2.0) -> float:
    """Twice x."""
    return x * times


def test_a_mark_changes_nothing_and_costs_a_comparison() -> None:
    assert (compare(2.0), compare(2.0, times=3.0)) == (4.0, 6.0)
    assert (compare.__name__, compare.__doc__) == ("compare", "Twice x.")
    with scoring:
        pass
    with watched_steps() as present:
        assert present() is None  # what was marked before nobody saw


def test_the_innermost_mark_is_told() -> None:
    with watched_steps() as present:

        @mixing
        def mix() -> str | None:
            return present()

        with scoring:
            assert present() == SCORES
            assert mix() == MIX
            assert present() == SCORES
        assert present() is None


def test_an_error_leaves_the_mark() -> None:
    with watched_steps() as present:
        with pytest.raises(ZeroDivisionError), scoring:
            _ = 1 / 0
        assert present() is None


def test_tiles_that_are_yielded_belong_to_the_loop_that_takes_them() -> None:
    def tiles() -> Iterator[str | None]:
        for _ in range(2):
            with scoring:
                step = present()
            yield step

    with watched_steps() as present, mixing:
        assert [(step, present()) for step in tiles()] == [(SCORES, MIX)] * 2


def test_one_watcher_at_a_time() -> None:
    with watched_steps():
        with pytest.raises(AssertionError, match="watched already"), watched_steps():
            pass
        with scoring:
            pass
    with watched_steps():
        pass


def test_kernels_are_known_by_name() -> None:
    seen: dict[str, str | None] = {}

    class Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen[func.overloadpacket.__name__] = step_of_kernel(func)
            return func(*args, **(kwargs or {}))

    x_BHTK = torch.randn(1, 2, 6, 4)
    with torch.no_grad(), Seen():  # type: ignore[no-untyped-call]
        functional.scaled_dot_product_attention(x_BHTK, x_BHTK, x_BHTK)
        torch.softmax(x_BHTK @ x_BHTK.transpose(-1, -2), -1)
        torch.softmax(x_BHTK, -1, out=torch.empty_like(x_BHTK))
    assert seen["bmm"] is None
    assert seen["_softmax"] == SOFTMAX
    assert {step for name, step in seen.items() if "attention" in name} == {FUSED}
