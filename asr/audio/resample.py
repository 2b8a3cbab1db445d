"""Change of sample rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from asr.types import Waveform


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """The waveform at ``sample_rate_hz``, by libsoxr at high quality (band-limited, linear phase).

    Returns the same object where the rates agree. The result has at least one sample.
    """
    if waveform.sample_rate_hz == sample_rate_hz:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.sample_rate_hz, sample_rate_hz, quality="HQ")
    if not len(samples):  # a few samples, and a far lower rate
        samples = waveform.samples[:1]
    return Waveform(np.asarray(samples, dtype=np.float32), sample_rate_hz)


def resample_blocks(blocks: Iterable[Waveform], sample_rate_hz: int) -> Iterator[Waveform]:
    """Successive stretches of one waveform at ``sample_rate_hz``, as :func:`resample` gives them.

    The samples are the same; where the stretches begin and end is not kept.
    """
    stream: soxr.ResampleStream | None = None
    first = Waveform(np.empty(0, dtype=np.float32), sample_rate_hz)
    num_samples = 0
    for block in blocks:
        if block.sample_rate_hz == sample_rate_hz:
            yield block
            continue
        if stream is None:
            first = Waveform(block.samples[:1], sample_rate_hz)
            stream = soxr.ResampleStream(
                block.sample_rate_hz, sample_rate_hz, num_channels=1, dtype="float32", quality="HQ"
            )
        samples = stream.resample_chunk(block.samples)
        num_samples += len(samples)
        yield Waveform(samples, sample_rate_hz)
    if stream is not None:
        samples = stream.resample_chunk(np.empty(0, dtype=np.float32), last=True)
        yield Waveform(samples, sample_rate_hz) if num_samples + len(samples) else first
