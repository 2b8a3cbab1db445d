"""Pairwise combinations: every pair of values of two axes meets in at least one test case.

Most faults need two settings to meet, hardly one needs three (Kuhn, Wallace and Gallo 2004), so a
property is tested over pairs and not over the full product. Every value of every axis is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., None])
Axis = Mapping[str, Any] | Sequence[Any]
Row = tuple[str, ...]


def pairwise(**axes: Axis) -> Callable[[Test], Test]:
    """Parametrize a test by rows that hold every pair of values of two arguments.

    An axis is a mapping of names to values, or a sequence whose values are named by ``str``. Values
    with an attribute ``family`` count as one for the pairs: each of them is tested, and each family
    meets all values of the other axes.
    """
    named = {
        argument: dict(axis) if isinstance(axis, Mapping) else {name_of(v): v for v in axis}
        for argument, axis in axes.items()
    }
    families = [
        {name: getattr(value, "family", name) for name, value in values.items()}
        for values in named.values()
    ]
    rows = covering_rows(families)
    return pytest.mark.parametrize(
        tuple(named),
        [tuple(v[name] for v, name in zip(named.values(), row, strict=True)) for row in rows],
        ids=["-".join(row) for row in rows],
    )


def name_of(value: Any) -> str:
    """The name of a value in a test's id."""
    name = getattr(value, "name", getattr(value, "__name__", value))
    return str(name).removeprefix("torch.").replace(" ", "")


def covering_rows(families: Sequence[Mapping[str, str]]) -> list[Row]:
    """Rows of one name an axis that hold all names and all pairs of families; greedy."""
    missing = {
        pair
        for first, second in combinations(range(len(families)), 2)
        for pair in product(
            ((first, family) for family in families[first].values()),
            ((second, family) for family in families[second].values()),
        )
    }

    def pairs(row: Row) -> set[Any]:
        cells = [(axis, families[axis][name]) for axis, name in enumerate(row)]
        return set(combinations(cells, 2))

    def add(candidates: Iterable[Row]) -> None:
        best = max(candidates, key=lambda row: len(pairs(row) & missing))
        rows.append(best)
        missing.difference_update(pairs(best))

    rows: list[Row] = []
    longest = max(range(len(families)), key=lambda axis: len(families[axis]))
    for name in families[longest]:
        add(product(*([name] if axis == longest else f for axis, f in enumerate(families))))
    while missing:
        add(product(*families))
    return rows
