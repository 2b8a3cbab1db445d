"""From the synthesiser's samples to a recording: rate, margins, level, a little noise."""

from __future__ import annotations

import numpy as np

from asr.audio.resample import resample
from asr.types import Waveform

SAMPLE_RATE_HZ = 16_000
_SILENCE = 0.005  # of full scale: what is below before the first and after the last sound is cut
_MARGIN_S = 0.06
_LEVEL_DB = (-27.0, -21.0)  # rms of full scale
_NOISE_DB = (-72.0, -60.0)


def record(speech: Waveform, *, seed: int) -> Waveform:
    """``speech`` at 16 kHz with short margins, a random level, and a noise floor for silence.

    Digital silence, which no microphone gives, would dominate logarithmic features.
    """
    rng = np.random.default_rng(seed)
    samples = resample(speech, SAMPLE_RATE_HZ).samples
    loud = np.flatnonzero(np.abs(samples) > _SILENCE)
    assert len(loud), "the synthesiser was silent"
    margin = np.zeros(int(_MARGIN_S * SAMPLE_RATE_HZ), dtype=np.float32)
    samples = np.concatenate([margin, samples[loud[0] : loud[-1] + 1], margin])
    samples *= 10 ** (rng.uniform(*_LEVEL_DB) / 20) / np.sqrt(np.mean(samples**2))
    noise = rng.standard_normal(len(samples), dtype=np.float32)
    samples += 10 ** (rng.uniform(*_NOISE_DB) / 20) * noise
    samples *= min(1.0, 0.95 / float(np.max(np.abs(samples))))
    return Waveform(samples.astype(np.float32), SAMPLE_RATE_HZ)
