"""Cuts to batches of equal cost: buckets of similar duration.

A batch costs its padded seconds of audio at the lowest speed that training plays it at: number of
utterances times the longest. With ``quadratic_duration_s`` q, an utterance of d seconds counts as
d + d^2 / q, which keeps the memory of attention level.

An epoch is planned as a whole, from durations alone: seconds for a million utterances, where
lhotse's sampler, which plans ahead of a stream, takes minutes.
"""

from __future__ import annotations

import logging
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from asr.data.manifest import Cut, Cuts
from asr.distributed import num_processes, rank
from asr.ranges import BatchDuration, Range, in_ranges
from asr.types import InputError

_QUADRATIC_S = 30.0

logger = logging.getLogger(__name__)


@in_ranges("data.batching")
class Batching:
    """Which utterances go into which batch of an epoch; a function of seed, epoch and cuts.

    Args:
        max_duration_s: padded seconds of a batch, never exceeded in training.
        num_buckets: how many groups of similar length; more means less padding.
        quadratic_duration_s: see above; None counts seconds as they are.
        min_utterance_s, max_utterance_s: others are left out of training; None for no upper
            bound but ``max_duration_s``.
        shuffle: a new order every epoch. Otherwise every epoch runs from short to long.
        sort_first_epoch: the first epoch runs from short to long.
        seed: of the order.
        slowest_s: what the lowest speed of training makes of some seconds, in proportion to them.
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
        self.seed = seed
        self.slowest_s = slowest_s

    def select(self, cuts: Cuts) -> list[Cut]:
        """The cuts to train on; how many are left out is logged. ``InputError`` if none is left."""
        kept = [cut for cut in cuts if self._fits(cut.duration)]
        num_left_out = len(cuts) - len(kept)
        if not kept:
            raise InputError(
                f"data.batching leaves out all {len(cuts)} utterances; allowed are "
                f"min_utterance_s={self.min_utterance_s:g} to {self._max_utterance_s():.2f} s "
                f"(max_utterance_s={self.max_utterance_s}, max_duration_s={self.max_duration_s:g})"
            )
        if num_left_out:
            logger.warning(
                "left out of training: %d of %d utterances, those below %g s or above %.2f s",
                num_left_out,
                len(cuts),
                self.min_utterance_s,
                self._max_utterance_s(),
            )
        return kept

    def train_batches(self, cuts: Cuts, epoch: int) -> list[Cuts]:
        """The batches of an epoch over ``cuts`` (from ``select``); this process's share of them.

        The plan is the same for any number of processes: in a step each takes the next batch of
        it. What is left at the end and too little for all of them is left out.
        """
        batches = self._epoch(cuts, epoch)
        num_whole = len(batches) // num_processes() * num_processes()
        return batches[rank() : num_whole : num_processes()]

    def num_train_batches(self, cuts: Cuts, epoch: int) -> int:
        """How many batches all processes share in an epoch over ``cuts`` (from ``select``)."""
        return len(self._epoch(cuts, epoch))

    def _epoch(self, cuts: Cuts, epoch: int) -> list[Cuts]:
        if not self.shuffle or (self.sort_first_epoch and epoch == 0):
            return self._pack(sorted(cuts, key=_by_duration))
        return self._bucket(cuts, random.Random(f"{self.seed}/{epoch}"))

    def largest_batches(self, cuts: Cuts) -> list[Cuts]:
        """For each bucket over ``cuts`` (from ``select``) the most it can put into a batch.

        From the bucket of the shortest utterances to that of the longest.
        """
        bounds_s = _equal_shares([cut.duration for cut in cuts], self.num_buckets)
        buckets: list[list[Cut]] = [[] for _ in bounds_s]
        for cut in sorted(cuts, key=_by_duration, reverse=True):
            bucket = bisect_left(bounds_s, cut.duration)
            if (len(buckets[bucket]) + 1) * self.cost_s(bounds_s[bucket]) <= self.max_duration_s:
                buckets[bucket].append(cut)
        return [bucket for bucket in buckets if bucket]

    def demand_s(self, cuts: Cuts) -> float:
        """Cost of a batch in seconds, attention's square counted; what memory goes by, roughly.

        Without ``quadratic_duration_s`` the square outweighs the rest from thirty seconds on.
        """
        longest_s = self.slowest_s(max(cut.duration for cut in cuts))
        quadratic_s = self.quadratic_duration_s or _QUADRATIC_S
        return len(cuts) * (longest_s + longest_s**2 / quadratic_s)

    def eval_batches(self, cuts: Cuts) -> list[Cuts]:
        """All of ``cuts``, from long to short; one too long for a batch is a batch of its own."""
        return self._pack(sorted(cuts, key=_by_duration, reverse=True))

    def _bucket(self, cuts: Cuts, generator: random.Random) -> list[Cuts]:
        """Shuffled batches, each of shuffled cuts of one bucket."""
        bounds_s = _equal_shares([cut.duration for cut in cuts], self.num_buckets)
        buckets: list[list[Cut]] = [[] for _ in bounds_s]
        for cut in cuts:
            buckets[bisect_left(bounds_s, cut.duration)].append(cut)
        batches: list[Cuts] = []
        for bound_s, bucket in zip(bounds_s, buckets, strict=True):
            generator.shuffle(bucket)
            size = max(1, int(self.max_duration_s / self.cost_s(bound_s)))
            batches += (bucket[start : start + size] for start in range(0, len(bucket), size))
        generator.shuffle(batches)
        return batches

    def _pack(self, cuts: Iterable[Cut]) -> list[Cuts]:
        """Fill batches in the order given."""
        batches: list[list[Cut]] = [[]]
        longest_s = 0.0
        for cut in cuts:
            longest_s = max(longest_s, self.cost_s(cut.duration))
            if batches[-1] and (len(batches[-1]) + 1) * longest_s > self.max_duration_s:
                batches.append([])
                longest_s = self.cost_s(cut.duration)
            batches[-1].append(cut)
        return [batch for batch in batches if batch]

    def cost_s(self, duration_s: float) -> float:
        """What an utterance counts as in a batch."""
        duration_s = self.slowest_s(duration_s)
        if self.quadratic_duration_s is None:
            return duration_s
        return duration_s + duration_s**2 / self.quadratic_duration_s

    def _fits(self, duration_s: float) -> bool:
        short_enough = self.max_utterance_s is None or duration_s <= self.max_utterance_s
        fits_alone = self.cost_s(duration_s) <= self.max_duration_s
        return self.min_utterance_s <= duration_s and short_enough and fits_alone

    def _max_utterance_s(self) -> float:
        """The longest utterance that fits."""
        longest_s = self.max_duration_s
        if self.quadratic_duration_s is not None:
            q = self.quadratic_duration_s
            longest_s = ((q * q + 4 * q * self.max_duration_s) ** 0.5 - q) / 2
        fits_s = longest_s / self.slowest_s(1.0)
        return min(fits_s, self.max_utterance_s or fits_s)


def _equal_shares(durations_s: Sequence[float], num_buckets: int) -> list[float]:
    """Upper bounds of buckets that hold about the same amount of audio; at most ``num_buckets``."""
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


def _by_duration(cut: Cut) -> tuple[float, str]:
    return cut.duration, cut.id
