from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import pytest

from asr.data.batching import Batching
from asr.data.manifest import Utterance, Utterances, read_manifest
from asr.errors import InputError


@pytest.fixture
def utterances(make_manifest: Callable[..., Path]) -> Utterances:
    """600 utterances, 0.5 to 12 s, mostly short."""
    rng = random.Random(3)
    durations_s = [round(min(12.0, 0.5 + rng.expovariate(0.4)), 3) for _ in range(600)]
    return read_manifest(make_manifest(durations_s, audio=False))


def ids(batches: Sequence[Utterances]) -> list[list[str]]:
    return [[utterance.utterance_id for utterance in batch] for batch in batches]


def padded_s(batch: Utterances) -> float:
    return len(batch) * max(float(utterance.duration_s) for utterance in batch)


@pytest.mark.parametrize("num_buckets", [1, 4, 20, 500])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_every_utterance_once_and_no_batch_too_large(
    utterances: Utterances, num_buckets: int, epoch: int
) -> None:
    batching = Batching(max_duration_s=16.0, num_buckets=num_buckets, sort_first_epoch=True)
    batches = batching.train_batches(batching.select(utterances), epoch)
    assert sorted(chain.from_iterable(ids(batches))) == sorted(
        utterance.utterance_id for utterance in utterances
    )
    assert max(padded_s(batch) for batch in batches) <= 16.0


@pytest.mark.parametrize("quadratic_duration_s", [None, 8.0])
@pytest.mark.parametrize("sort_first_epoch", [False, True])
def test_no_batch_is_too_large_at_the_lowest_speed(
    utterances: Utterances, quadratic_duration_s: float | None, sort_first_epoch: bool
) -> None:
    batching = Batching(
        max_duration_s=16.0,
        quadratic_duration_s=quadratic_duration_s,
        sort_first_epoch=sort_first_epoch,
        slowest_s=lambda duration_s: duration_s / 0.9,
    )
    selected = batching.select(utterances)
    batches = batching.train_batches(selected, 0)
    assert sorted(chain.from_iterable(ids(batches))) == sorted(
        utterance.utterance_id for utterance in selected
    )
    for batch in [*batches, *batching.largest_batches(selected)]:
        longest_s = max(utterance.duration_s for utterance in batch) / 0.9
        squared_s = longest_s**2 / quadratic_duration_s if quadratic_duration_s else 0.0
        assert len(batch) * (longest_s + squared_s) <= 16.0
    left_out = [utterance.duration_s for utterance in utterances if utterance not in selected]
    bound_s = batching._max_utterance_s()
    assert max(utterance.duration_s for utterance in selected) <= bound_s
    assert all(duration_s > bound_s or duration_s < 0.1 for duration_s in left_out)


def test_little_padding_in_well_filled_batches(utterances: Utterances) -> None:
    batching = Batching(max_duration_s=30.0, num_buckets=20)
    batches = batching.train_batches(batching.select(utterances), 1)
    padded = sum(padded_s(batch) for batch in batches)
    audio = sum(utterance.duration_s for utterance in utterances)
    assert 1 - audio / padded < 0.08
    assert padded / len(batches) > 0.75 * 30.0


def test_quadratic_cost_bounds_long_batches(utterances: Utterances) -> None:
    batching = Batching(max_duration_s=40.0, num_buckets=10, quadratic_duration_s=8.0)
    for batch in batching.train_batches(batching.select(utterances), 1):
        longest_s = max(utterance.duration_s for utterance in batch)
        assert len(batch) * (longest_s + longest_s**2 / 8.0) <= 40.0


def test_the_same_seed_gives_the_same_batches(utterances: Utterances) -> None:
    def epoch(seed: int, number: int) -> list[list[str]]:
        batching = Batching(max_duration_s=20.0, seed=seed)
        return ids(batching.train_batches(batching.select(utterances), number))

    assert epoch(0, 3) == epoch(0, 3)
    assert epoch(0, 3) != epoch(0, 4)
    assert epoch(0, 3) != epoch(1, 3)


def test_the_first_epoch_can_run_from_short_to_long(utterances: Utterances) -> None:
    batching = Batching(max_duration_s=20.0, sort_first_epoch=True)
    selected = batching.select(utterances)
    first = [
        utterance.duration_s for batch in batching.train_batches(selected, 0) for utterance in batch
    ]
    second = [
        utterance.duration_s for batch in batching.train_batches(selected, 1) for utterance in batch
    ]
    assert first == sorted(first)
    assert second != sorted(second)


def test_utterances_out_of_bounds_are_counted(
    utterances: Utterances, caplog: pytest.LogCaptureFixture
) -> None:
    batching = Batching(max_duration_s=6.0, min_utterance_s=1.0)
    with caplog.at_level(logging.WARNING):
        selected = batching.select(utterances)
    inside = [utterance for utterance in utterances if 1.0 <= utterance.duration_s <= 6.0]
    assert [utterance.utterance_id for utterance in selected] == [
        utterance.utterance_id for utterance in inside
    ]
    assert f"{600 - len(inside)} of 600" in caplog.text
    assert "above 6.00 s" in caplog.text


def test_evaluation_leaves_nothing_out(utterances: Utterances) -> None:
    batches = Batching(max_duration_s=6.0, min_utterance_s=1.0).eval_batches(utterances)
    assert sorted(chain.from_iterable(ids(batches))) == sorted(
        utterance.utterance_id for utterance in utterances
    )
    assert all(padded_s(batch) <= 6.0 for batch in batches if len(batch) > 1)
    longest = [max(utterance.duration_s for utterance in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize(("world_size", "sort_first_epoch"), [(2, False), (2, True), (3, False)])
def test_ranks_share_an_epoch(
    utterances: Utterances, world_size: int, sort_first_epoch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    shares = []
    for rank in range(world_size):
        monkeypatch.setenv("RANK", str(rank))
        batching = Batching(max_duration_s=20.0, sort_first_epoch=sort_first_epoch)
        shares.append(ids(batching.train_batches(batching.select(utterances), 0)))
    assert len({len(share) for share in shares}) == 1
    seen = [name for share in shares for batch in share for name in batch]
    assert len(seen) == len(set(seen))
    assert len(seen) > 0.95 * len(utterances)


def test_bounds_that_leave_nothing_are_named(utterances: Utterances) -> None:
    with pytest.raises(InputError, match=r"min_utterance_s=50 .* max_duration_s=60"):
        Batching(max_duration_s=60.0, min_utterance_s=50.0).select(utterances)
    with pytest.raises(InputError, match=r"data\.batching\.max_duration_s=0"):
        Batching(max_duration_s=0.0)


def test_an_epoch_of_many_is_planned_in_no_time() -> None:
    """A million utterances took eight minutes before; here a fifth of that must take seconds."""
    rng = random.Random(0)
    many = [
        Utterance(f"u{number}", 0.0, round(rng.uniform(1.0, 16.0), 3), "X", None, "a.wav")
        for number in range(200_000)
    ]
    batching = Batching(max_duration_s=32.0)
    start_s = time.process_time()
    batches = batching.train_batches(batching.select(many), 1)
    assert time.process_time() - start_s < 10
    assert sum(map(len, batches)) == len(many)


def test_the_plan_is_the_same_for_any_number_of_processes(
    utterances: Utterances, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes take in each step what one takes in two."""
    batching = Batching(max_duration_s=20.0)
    alone = ids(batching.train_batches(utterances, 3))
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        shares.append(ids(batching.train_batches(utterances, 3)))
    together = [batch for pair in zip(*shares, strict=True) for batch in pair]
    assert together == alone[: len(together)]
    assert len(alone) - len(together) < 2
