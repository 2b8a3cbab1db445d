"""The price of a run: time and memory, measured on real steps with its own data.

Shape legend: B batch, N samples, U tokens.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter

import torch
from torch import nn

from asr.errors import is_out_of_memory
from asr.head.base import HeadLoss
from asr.profiling.latency import clock_ms, time_alternating
from asr.profiling.memory import in_use_mib, peak_memory_mib
from asr.profiling.training_step import training_step
from asr.train.memory_check import at_longest
from asr.train.stream import StreamItem
from asr.types import Batch

_REPEATS = 5
_MAX_POINT_S = 20.0
_FINENESS = 1.05  # relative precision of the largest batch


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPrice:
    """A step on the largest batch of a bucket, ``num_utterances`` of up to ``longest_s`` seconds.

    ``step_s`` is the median of forward, backward and update; ``fastest_s`` and ``slowest_s`` are
    the extremes. ``above_mib`` is the step's peak memory above what is held between steps,
    ``peak_mib`` the total, with weights and AdamW's state; None if it cannot be measured.
    """

    num_utterances: int
    longest_s: float
    step_s: float
    fastest_s: float
    slowest_s: float
    above_mib: float | None
    peak_mib: float | None

    @property
    def audio_s(self) -> float:
        """Seconds of audio, padding included."""
        return self.num_utterances * self.longest_s


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPrice:
    """The loading time: ``first_batch_s`` to the first batch, then the ``wait_share`` (0 to 1).

    ``step_s`` is the mean time of a batch without waiting.
    """

    first_batch_s: float
    wait_share: float
    step_s: float


class Stepper:
    """Real training steps of ``model`` on any batch, with AdamW at a learning rate of zero.

    Args:
        dtype: of matrix products, see `asr.profiling.training_step.AUTOCAST_DTYPES`.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Batch], HeadLoss],
        *,
        sample_rate_hz: int,
        dtype: str,
        device: torch.device,
    ) -> None:
        self.device = device
        self._sample_rate_hz = sample_rate_hz
        self._batch: Batch | None = None
        self._model = model
        self._step = training_step(
            model.to(device), lambda: loss(self._held()).loss, dtype=dtype, device=device
        )

    def __call__(self, batch: Batch) -> None:
        """Run one step on ``batch`` and wait for its end."""
        self._batch = batch.to(self.device)
        self._step()
        clock_ms(self.device)

    def price(self, batch: Batch) -> BatchPrice:
        """Measure time and memory of steps on ``batch`` (on the CPU); raises if out of memory.

        Memory is measured with utterances at their longest, time with utterances as drawn.
        """
        self._batch = batch.to(self.device)
        with at_longest(self._model):
            above_mib = peak_memory_mib(self._step, self.device, warmup=1)
        timing = time_alternating(
            {"step": self._step},
            repeats=_REPEATS,
            warmup=0,
            device=self.device,
            max_point_s=_MAX_POINT_S,
        )["step"]
        held_mib = in_use_mib(self.device)
        return BatchPrice(
            num_utterances=len(batch),
            longest_s=batch.waveforms_BN.shape[1] / self._sample_rate_hz,
            step_s=timing.median_ms / 1000,
            fastest_s=min(timing.samples_ms) / 1000,
            slowest_s=max(timing.samples_ms) / 1000,
            above_mib=above_mib,
            peak_mib=None if above_mib is None or held_mib is None else held_mib + above_mib,
        )

    def fits(self, batch: Batch) -> bool:
        """Return whether a step on ``batch`` fits in memory, with utterances at their longest."""
        try:
            with at_longest(self._model):
                self(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return True
        self._batch = None
        gc.collect()  # free what the traceback held
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return False

    def _held(self) -> Batch:
        assert self._batch is not None
        return self._batch


def price_data(
    items: Iterable[StreamItem], step: Callable[[Batch], None], *, num_steps: int, max_s: float
) -> DataPrice:
    """Train on ``num_steps`` of ``items`` at most, or ``max_s`` seconds; measure the loading."""
    waits_s: list[float] = []
    start_s = begun_s = time.perf_counter()
    for item in islice(items, num_steps + 1):
        waits_s.append(item.wait_s)
        if len(waits_s) == 1:
            begun_s = time.perf_counter()
        step(item.batch)
        if time.perf_counter() - begun_s > max_s:
            break
    end_s = time.perf_counter()
    first_s = min(waits_s[0], begun_s - start_s)
    waited_s = sum(waits_s[1:])
    return DataPrice(
        first_batch_s=first_s,
        wait_share=min(1.0, waited_s / (end_s - begun_s)),
        step_s=max(0.0, end_s - begun_s - waited_s) / len(waits_s),
    )


def mean_step_s(
    prices: Sequence[BatchPrice],
    sizes: Sequence[tuple[int, float]],
    step_s: Callable[[BatchPrice], float] = attrgetter("step_s"),
) -> float:
    """Return the mean seconds of a batch in an epoch of ``sizes`` (utterances, longest seconds).

    A batch costs as much per padded second as the largest batch of its bucket (``step_s``).
    """
    by_length = sorted(prices, key=lambda price: price.longest_s)
    costs_s = []
    for num_utterances, longest_s in sizes:
        longer = (price for price in by_length if price.longest_s >= longest_s - 1e-3)
        price = next(longer, by_length[-1])
        costs_s.append(num_utterances * longest_s / price.audio_s * step_s(price))
    return statistics.fmean(costs_s)


def largest_num_utterances(stepper: Stepper, batch: Batch, *, most: int) -> int:
    """Find how many utterances as long as those of ``batch`` fit in an accelerator's memory.

    The number is doubled until it does not fit, then bisected; 0 if not even one fits, at most
    ``most``.
    """
    fits, fails = 0, min(most, len(batch))
    while stepper.fits(repeated_batch(batch, fails)):
        if fails == most:
            return most
        fits, fails = fails, min(most, 2 * fails)
    while fails - fits > 1 and fails > _FINENESS * fits:
        middle = (fits + fails) // 2
        if stepper.fits(repeated_batch(batch, middle)):
            fits = middle
        else:
            fails = middle
    return fits


def repeated_batch(batch: Batch, num_utterances: int) -> Batch:
    """Repeat the utterances of ``batch`` up to ``num_utterances``, with the same padding."""
    index_B = torch.arange(num_utterances) % len(batch)
    return replace(
        batch,
        utterance_ids=tuple(batch.utterance_ids[i] for i in index_B.tolist()),
        texts=tuple(batch.texts[i] for i in index_B.tolist()),
        waveforms_BN=batch.waveforms_BN[index_B],
        waveform_lengths_B=batch.waveform_lengths_B[index_B],
        token_ids_BU=batch.token_ids_BU[index_B],
        token_lengths_B=batch.token_lengths_B[index_B],
    )
