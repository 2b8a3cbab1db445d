"""Change of sample rate."""

from __future__ import annotations

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
