"""Resampling waveforms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import soxr
from numpy.typing import NDArray

from asr.types import Waveform


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Resample with libsoxr at high quality (band-limited, linear phase).

    Returns the same object where the rates agree. The result has at least one sample.
    """
    if waveform.sample_rate_hz == sample_rate_hz:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.sample_rate_hz, sample_rate_hz, quality="HQ")
    if not len(samples):  # very few samples and a far lower rate
        samples = waveform.samples[:1]
    return Waveform(np.asarray(samples, dtype=np.float32), sample_rate_hz)


def resample_blocks(blocks: Iterable[Waveform], sample_rate_hz: int) -> Iterator[Waveform]:
    """Resample consecutive blocks of a recording; the samples equal those of :func:`resample`.

    The block boundaries change. Joined recordings of different rates are resampled separately.
    """
    for rate_hz, group in groupby(blocks, key=lambda block: block.sample_rate_hz):
        if rate_hz == sample_rate_hz:
            yield from group
        else:
            yield from _resample_group(group, rate_hz, sample_rate_hz)


class Resampler:
    """Block-wise resampler for audio of one rate; the samples equal those of `resample_blocks`."""

    def __init__(self, before_hz: int, sample_rate_hz: int) -> None:
        self.before_hz = before_hz
        self._stream = (
            None
            if before_hz == sample_rate_hz
            else soxr.ResampleStream(
                before_hz, sample_rate_hz, num_channels=1, dtype="float32", quality="HQ"
            )
        )

    def __call__(self, samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample the next samples; return those that are final."""
        return samples_N if self._stream is None else self._stream.resample_chunk(samples_N)

    def finish(self) -> NDArray[np.float32]:
        """Return the samples that were held back."""
        nothing = np.empty(0, dtype=np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


def _resample_group(
    blocks: Iterator[Waveform], before_hz: int, sample_rate_hz: int
) -> Iterator[Waveform]:
    resampler = Resampler(before_hz, sample_rate_hz)
    num_samples = 0
    first = np.empty(0, dtype=np.float32)
    for block in blocks:
        first = first if len(first) else block.samples[:1]
        samples = resampler(block.samples)
        num_samples += len(samples)
        yield Waveform(samples, sample_rate_hz)
    samples = resampler.finish()
    yield Waveform(samples if num_samples + len(samples) else first, sample_rate_hz)
