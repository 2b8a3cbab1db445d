"""The reuse methods and groupings every equivalence is tested with.

A new method joins by a line in ``CASES``, a new depth by another in ``LEADERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from asr.reuse.base import ReuseMethod
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs

NUM_LAYERS = 4

GROUPINGS: dict[str, tuple[ReuseProbs, list[int]]] = {
    "all": (ReuseProbs(group_size=4), [0, 0, 0, 0]),
    "pairs": (ReuseProbs(groups=[2, 2]), [0, 0, 2, 2]),
    "uneven": (ReuseProbs(groups=[1, 3]), [0, 1, 1, 1]),
    "between": (ReuseProbs(pattern="LAF"), [0, 1, 0, 3]),
    "alone-twice": (ReuseProbs(pattern="LAAF"), [0, 1, 2, 0]),
    "late": (ReuseProbs(leaders=[0, 1, 1, 3]), [0, 1, 1, 3]),
}


@dataclass(frozen=True)
class Case:
    """A reuse method and the leader of each layer that it must come down to."""

    make: Callable[[], ReuseMethod]
    leaders: list[int]


ALONE = list(range(NUM_LAYERS))

CASES: dict[str, Case] = {
    "none-fused": Case(lambda: NoReuse(fused=True), ALONE),
    "none-explicit": Case(lambda: NoReuse(fused=False), ALONE),
    "probs-ones": Case(lambda: ReuseProbs(group_size=1), ALONE),
} | {
    f"probs-{name}": Case(lambda method=method: method, leaders)  # type: ignore[misc]
    for name, (method, leaders) in GROUPINGS.items()
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
