"""Dynamic batching: batches of equal cost, from buckets of utterances of similar duration.

The cost of a batch is its padded seconds of audio at the lowest speed of speed perturbation: number
of utterances times the longest. With ``quadratic_duration_s`` q, an utterance of d seconds counts
as d + d^2 / q, so that batches need similar memory for attention.

A whole epoch is planned from durations alone. That takes seconds for a million utterances; lhotse's
sampler, which works on a stream, takes minutes.
"""

from __future__ import annotations

import logging
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from asr.data.joining import join_utterances
from asr.data.manifest import Utterance, Utterances
from asr.distributed import num_processes, rank
from asr.errors import InputError
from asr.ranges import BatchDuration, Range, Share, in_ranges

_QUADRATIC_S = 30.0

logger = logging.getLogger(__name__)


@in_ranges("data.batching")
class Batching:
    """A planner of an epoch's batches, from seed, epoch and utterances only.

    Args:
        max_duration_s: largest cost of a batch in padded seconds, never exceeded in training.
        num_buckets: number of groups of similar length; more of them mean less padding.
        quadratic_duration_s: see above; None counts seconds as they are.
        min_utterance_s, max_utterance_s: shorter and longer utterances are left out of training;
            with None, ``max_duration_s`` is the only upper bound.
        shuffle: a new order every epoch. Otherwise every epoch runs from short to long.
        sort_first_epoch: the first epoch runs from short to long.
        join_share: share of the items of a batch that are several utterances in a row, new ones
            every epoch that is shuffled; see `join_utterances`.
        join_max_s: greatest length of joined utterances.
        join_pause_s: longest pause between two of them.
        seed: of the order.
        slowest_s: maps seconds of audio to seconds at the lowest speed of training.
    """

    def __init__(
        self,
        *,
        max_duration_s: BatchDuration,
        num_buckets: Annotated[int, Range(1, 10_000)] = 20,
        quadratic_duration_s: BatchDuration | None = None,
        min_utterance_s: Annotated[float, Range(0, 36_000)] = 0.0,
        max_utterance_s: BatchDuration | None = None,
        shuffle: bool = True,
        sort_first_epoch: bool = False,
        join_share: Share = 0.0,
        join_max_s: BatchDuration = 20.0,
        join_pause_s: Annotated[float, Range(0, 60)] = 1.0,
        seed: int = 0,
        slowest_s: Callable[[float], float] = lambda duration_s: duration_s,
    ) -> None:
        self.max_duration_s = max_duration_s
        self.num_buckets = num_buckets
        self.quadratic_duration_s = quadratic_duration_s
        self.min_utterance_s = min_utterance_s
        self.max_utterance_s = max_utterance_s
        self.shuffle = shuffle
        self.sort_first_epoch = sort_first_epoch
        self.join_share = join_share
        self.join_max_s = join_max_s
        self.join_pause_s = join_pause_s
        self.seed = seed
        self.slowest_s = slowest_s

    def select(self, utterances: Utterances) -> list[Utterance]:
        """Select the utterances to train on; log how many are left out, ``InputError`` if all."""
        kept = [utterance for utterance in utterances if self._fits(utterance.duration_s)]
        num_left_out = len(utterances) - len(kept)
        if not kept:
            raise InputError(
                f"data.batching leaves out all {len(utterances)} utterances; allowed are "
                f"min_utterance_s={self.min_utterance_s:g} to {self._max_utterance_s():.2f} s "
                f"(max_utterance_s={self.max_utterance_s}, max_duration_s={self.max_duration_s:g})"
            )
        if num_left_out:
            logger.warning(
                "left out of training: %d of %d utterances, those below %g s or above %.2f s",
                num_left_out,
                len(utterances),
                self.min_utterance_s,
                self._max_utterance_s(),
            )
        return kept

    def train_batches(self, utterances: Utterances, epoch: int) -> list[Utterances]:
        """Return this process's batches of an epoch over ``utterances`` (from ``select``).

        The plan does not depend on the number of processes: in a step, each takes the next batch.
        Last batches that do not fill a step are dropped.
        """
        batches = self._epoch(utterances, epoch)
        num_whole = len(batches) // num_processes() * num_processes()
        return batches[rank() : num_whole : num_processes()]

    def num_train_batches(self, utterances: Utterances, epoch: int) -> int:
        """Return the number of batches of an epoch over ``utterances`` (from ``select``)."""
        return len(self._epoch(utterances, epoch))

    def _epoch(self, utterances: Utterances, epoch: int) -> list[Utterances]:
        if not self.shuffle or (self.sort_first_epoch and epoch == 0):
            return self._pack(sorted(utterances, key=_by_duration))
        return self._bucket(self._join(utterances, epoch), random.Random(f"{self.seed}/{epoch}"))

    def _join(self, utterances: Utterances, epoch: int) -> Utterances:
        """Return the items of the batches of a shuffled epoch."""
        if not self.join_share:
            return utterances
        return join_utterances(
            utterances,
            share=self.join_share,
            max_s=self.join_max_s,
            pause_s=self.join_pause_s,
            fits=lambda duration_s: self.cost_s(duration_s) <= self.max_duration_s,
            generator=random.Random(f"{self.seed}/{epoch}/join"),
        )

    def largest_batches(self, utterances: Utterances) -> list[Utterances]:
        """Return the largest batch of each bucket of ``utterances``, the shortest bucket first.

        Joined utterances are those of the second epoch, the first that is surely shuffled.
        """
        if self.shuffle:
            utterances = self._join(utterances, 1)
        bounds_s = _equal_shares(
            [utterance.duration_s for utterance in utterances], self.num_buckets
        )
        buckets: list[list[Utterance]] = [[] for _ in bounds_s]
        for utterance in sorted(utterances, key=_by_duration, reverse=True):
            bucket = bisect_left(bounds_s, utterance.duration_s)
            if (len(buckets[bucket]) + 1) * self.cost_s(bounds_s[bucket]) <= self.max_duration_s:
                buckets[bucket].append(utterance)
        return [bucket for bucket in buckets if bucket]

    def demand_s(self, utterances: Utterances) -> float:
        """Estimate the memory of a batch as seconds, with a quadratic term for attention.

        Without ``quadratic_duration_s``, that term dominates from thirty seconds on.
        """
        longest_s = self.slowest_s(max(utterance.duration_s for utterance in utterances))
        quadratic_s = self.quadratic_duration_s or _QUADRATIC_S
        return len(utterances) * (longest_s + longest_s**2 / quadratic_s)

    def eval_batches(self, utterances: Utterances) -> list[Utterances]:
        """Return batches of all ``utterances``, from long to short; too long ones stand alone."""
        return self._pack(sorted(utterances, key=_by_duration, reverse=True))

    def _bucket(self, utterances: Utterances, generator: random.Random) -> list[Utterances]:
        """Return shuffled batches, each of shuffled utterances of one bucket."""
        bounds_s = _equal_shares(
            [utterance.duration_s for utterance in utterances], self.num_buckets
        )
        buckets: list[list[Utterance]] = [[] for _ in bounds_s]
        for utterance in utterances:
            buckets[bisect_left(bounds_s, utterance.duration_s)].append(utterance)
        batches: list[Utterances] = []
        for bound_s, bucket in zip(bounds_s, buckets, strict=True):
            generator.shuffle(bucket)
            size = max(1, int(self.max_duration_s / self.cost_s(bound_s)))
            batches += (bucket[start : start + size] for start in range(0, len(bucket), size))
        generator.shuffle(batches)
        return batches

    def _pack(self, utterances: Iterable[Utterance]) -> list[Utterances]:
        """Fill batches in the given order."""
        batches: list[list[Utterance]] = [[]]
        longest_s = 0.0
        for utterance in utterances:
            longest_s = max(longest_s, self.cost_s(utterance.duration_s))
            if batches[-1] and (len(batches[-1]) + 1) * longest_s > self.max_duration_s:
                batches.append([])
                longest_s = self.cost_s(utterance.duration_s)
            batches[-1].append(utterance)
        return [batch for batch in batches if batch]

    def cost_s(self, duration_s: float) -> float:
        """Return the cost of an utterance in a batch."""
        duration_s = self.slowest_s(duration_s)
        if self.quadratic_duration_s is None:
            return duration_s
        return duration_s + duration_s**2 / self.quadratic_duration_s

    def _fits(self, duration_s: float) -> bool:
        short_enough = self.max_utterance_s is None or duration_s <= self.max_utterance_s
        fits_alone = self.cost_s(duration_s) <= self.max_duration_s
        return self.min_utterance_s <= duration_s and short_enough and fits_alone

    def _max_utterance_s(self) -> float:
        """Return the duration of the longest utterance that fits."""
        longest_s = self.max_duration_s
        if self.quadratic_duration_s is not None:
            q = self.quadratic_duration_s
            longest_s = ((q * q + 4 * q * self.max_duration_s) ** 0.5 - q) / 2
        fits_s = longest_s / self.slowest_s(1.0)
        return min(fits_s, self.max_utterance_s or fits_s)


def _equal_shares(durations_s: Sequence[float], num_buckets: int) -> list[float]:
    """Return upper bounds of at most ``num_buckets`` buckets with about equal amounts of audio."""
    share_s = sum(durations_s) / num_buckets
    bounds_s: list[float] = []
    total_s = 0.0
    for duration_s in sorted(durations_s):
        total_s += duration_s
        if total_s >= share_s * (len(bounds_s) + 1) and (not bounds_s or duration_s > bounds_s[-1]):
            bounds_s.append(duration_s)
    longest_s = max(durations_s)
    if bounds_s[-1:] != [longest_s]:
        bounds_s = [*bounds_s[: num_buckets - 1], longest_s]
    return bounds_s


def _by_duration(utterance: Utterance) -> tuple[float, str]:
    return utterance.duration_s, utterance.utterance_id
