"""The rows of pairwise tests hold what they promise."""

from __future__ import annotations

from itertools import combinations, product

from tests.equivalence.cases import CASES
from tests.pairwise import covering_rows

AXES = [
    {name: case.family for name, case in CASES.items()},
    {name: name for name in ("relative", "rotary", "none")},
    {name: name for name in ("conformer", "transformer")},
]


def test_every_case_and_every_pair_of_families_is_there() -> None:
    rows = covering_rows(AXES)
    for axis, families in enumerate(AXES):
        assert {row[axis] for row in rows} == set(families)
    for first, second in combinations(range(len(AXES)), 2):
        found = {(AXES[first][row[first]], AXES[second][row[second]]) for row in rows}
        assert found == set(product(AXES[first].values(), AXES[second].values()))
    assert len(set(rows)) == len(rows) < 1.5 * len(CASES)
