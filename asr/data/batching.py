"""Cuts to batches of equal cost: dynamic buckets by duration (lhotse's sampler).

A batch costs its padded seconds of audio: number of utterances times the longest. With
``quadratic_duration_s`` q, an utterance of d seconds counts as d + d^2 / q, which keeps the memory
of attention level.
"""

from __future__ import annotations

import copy
import logging
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence

from lhotse import CutSet, MonoCut
from lhotse.dataset import DynamicBucketingSampler

from asr.types import InputError

_BUFFER_SIZE = 10_000  # cuts the sampler holds in its buckets at a time

_QUADRATIC_S = 30.0

logger = logging.getLogger(__name__)


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
    """

    def __init__(
        self,
        *,
        max_duration_s: float,
        num_buckets: int = 20,
        quadratic_duration_s: float | None = None,
        min_utterance_s: float = 0.0,
        max_utterance_s: float | None = None,
        shuffle: bool = True,
        sort_first_epoch: bool = False,
        seed: int = 0,
    ) -> None:
        for key, value in (
            ("max_duration_s", max_duration_s),
            ("num_buckets", num_buckets),
            ("quadratic_duration_s", quadratic_duration_s),
            ("max_utterance_s", max_utterance_s),
        ):
            if value is not None and not value > 0:
                raise InputError(f"data.batching.{key} is {value}; it must be above 0")
        self.max_duration_s = max_duration_s
        self.num_buckets = num_buckets
        self.quadratic_duration_s = quadratic_duration_s
        self.min_utterance_s = min_utterance_s
        self.max_utterance_s = max_utterance_s
        self.shuffle = shuffle
        self.sort_first_epoch = sort_first_epoch
        self.seed = seed

    def select(self, cuts: CutSet) -> list[MonoCut]:
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

    def train_batches(self, cuts: Sequence[MonoCut], epoch: int) -> list[CutSet]:
        """The batches of an epoch over ``cuts`` (from ``select``); this process's share of them."""
        sampler = self._make_sampler(cuts, epoch)
        if not self.shuffle or (self.sort_first_epoch and epoch == 0):
            batches = self._pack(sorted(cuts, key=_by_duration))
            num_whole = len(batches) // sampler.world_size * sampler.world_size
            return batches[sampler.rank : num_whole or None : sampler.world_size]
        batches = list(sampler)
        random.Random(f"{self.seed}/{epoch}/batches").shuffle(batches)  # small ones come last
        return batches

    def largest_batches(self, cuts: Sequence[MonoCut]) -> list[CutSet]:
        """For each bucket over ``cuts`` (from ``select``) the most it can put into a batch.

        From the bucket of the shortest utterances to that of the longest.
        """
        bounds_s = _equal_shares([cut.duration for cut in cuts], self.num_buckets)
        buckets: list[list[MonoCut]] = [[] for _ in bounds_s]
        for cut in sorted(cuts, key=_by_duration, reverse=True):
            bucket = bisect_left(bounds_s, cut.duration)
            if (len(buckets[bucket]) + 1) * self.cost_s(bounds_s[bucket]) <= self.max_duration_s:
                buckets[bucket].append(cut)
        return [CutSet.from_cuts(bucket) for bucket in buckets if bucket]

    def demand_s(self, cuts: CutSet) -> float:
        """Cost of a batch in seconds, attention's square counted; what memory goes by, roughly.

        Without ``quadratic_duration_s`` the square outweighs the rest from thirty seconds on.
        """
        longest_s: float = max(cut.duration for cut in cuts)
        quadratic_s = self.quadratic_duration_s or _QUADRATIC_S
        return len(cuts) * (longest_s + longest_s**2 / quadratic_s)

    def eval_batches(self, cuts: CutSet) -> list[CutSet]:
        """All of ``cuts``, from long to short; one too long for a batch is a batch of its own."""
        return self._pack(sorted(cuts, key=_by_duration, reverse=True))

    def _make_sampler(self, cuts: Sequence[MonoCut], epoch: int) -> DynamicBucketingSampler:
        order = list(cuts)
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        bounds_s = _equal_shares([cut.duration for cut in cuts], self.num_buckets)
        sampler = DynamicBucketingSampler(
            order,
            constraint=_PaddedCost(self.max_duration_s, bounds_s, self.cost_s),
            duration_bins=bounds_s[:-1],
            shuffle=True,
            buffer_size=_BUFFER_SIZE,
            sync_buckets=True,  # False loses utterances at the end of an epoch (lhotse 1.33)
            seed=self.seed,
        )
        sampler.set_epoch(epoch)
        return sampler

    def _pack(self, cuts: Sequence[MonoCut]) -> list[CutSet]:
        """Fill batches in the order given."""
        batches: list[list[MonoCut]] = [[]]
        longest_s = 0.0
        for cut in cuts:
            longest_s = max(longest_s, self.cost_s(cut.duration))
            if batches[-1] and (len(batches[-1]) + 1) * longest_s > self.max_duration_s:
                batches.append([])
                longest_s = self.cost_s(cut.duration)
            batches[-1].append(cut)
        return [CutSet.from_cuts(batch) for batch in batches if batch]

    def cost_s(self, duration_s: float) -> float:
        """What an utterance counts as in a batch."""
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
        return min(longest_s, self.max_utterance_s or longest_s)


class _PaddedCost:
    """The sampler's question whether a batch is full, asked before the next cut is known.

    lhotse's own constraint notices only afterwards that a longer cut has made a batch too large.
    This one supposes that the next cut is as long as its bucket allows.
    """

    def __init__(
        self, limit_s: float, bounds_s: Sequence[float], cost_s: Callable[[float], float]
    ) -> None:
        self._limit_s = limit_s
        self._bounds_s = bounds_s
        self._cost_s = cost_s
        self.reset()

    def reset(self) -> None:
        self._num_cuts = 0
        self._longest_s = 0.0

    def copy(self) -> _PaddedCost:
        return copy.copy(self)

    def add(self, example: MonoCut | tuple[MonoCut]) -> None:
        self._num_cuts += 1
        self._longest_s = max(self._longest_s, self.measure_length(example))

    def exceeded(self) -> bool:
        return self._num_cuts * self._cost_s(self._longest_s) > self._limit_s

    def close_to_exceeding(self) -> bool:
        bound_s = self._bounds_s[bisect_left(self._bounds_s, self._longest_s)]
        return (self._num_cuts + 1) * self._cost_s(bound_s) > self._limit_s

    def measure_length(self, example: MonoCut | tuple[MonoCut]) -> float:
        cut = example[0] if isinstance(example, tuple) else example
        return float(cut.duration)

    def select_bucket(self, buckets: Sequence[float], example: MonoCut | tuple[MonoCut]) -> int:
        return bisect_left(buckets, self.measure_length(example))


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


def _by_duration(cut: MonoCut) -> tuple[float, str]:
    return cut.duration, cut.id
