from __future__ import annotations

import pytest

from asr.distributed import gather_from_all, is_first, num_processes, rank


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_alone() -> None:
    assert (rank(), num_processes(), is_first()) == (0, 1, True)
    assert gather_from_all("mine") == ["mine"]


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_what_a_launcher_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (rank(), num_processes(), is_first()) == (3, 4, False)


def test_the_rank_among_all_goes_before_that_on_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "5")
    assert rank() == 5
