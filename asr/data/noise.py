"""Recorded noise behind speech.

Shape legend: N samples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.data.sounds import read_sound, read_sounds
from asr.ranges import Decibels, Share, in_ranges
from asr.types import InputError


@in_ranges("data.noise")
class NoiseMix:
    """Adds a stretch of a random recording to an utterance, at a random signal-to-noise ratio.

    Args:
        folder: what `asr prepare musan` made, or any folder of manifests; None adds nothing.
        parts: the manifests of ``folder`` to draw from, every recording as often as another.
        low_snr_db, high_snr_db: the ratio of mean powers over the utterance is uniform between
            them.
        probability: of an utterance to get noise.

    A recording that is shorter than the utterance is played in a loop.
    """

    def __init__(
        self,
        *,
        folder: str | None,
        parts: Sequence[str],
        low_snr_db: Decibels,
        high_snr_db: Decibels,
        probability: Share,
    ) -> None:
        if low_snr_db > high_snr_db:
            raise InputError(
                f"data.noise.low_snr_db, high_snr_db: {low_snr_db:g}, {high_snr_db:g} must rise"
            )
        self._recordings = read_sounds(folder, parts, probability, "data.noise")
        self.low_snr_db = low_snr_db
        self.high_snr_db = high_snr_db
        self.probability = probability

    def __call__(
        self, speech_N: NDArray[np.float32], sample_rate_hz: int, generator: random.Random
    ) -> NDArray[np.float32]:
        """The utterance (N,) with noise, or as it is; the choice is ``generator``'s.

        Raises SoundError where the noise cannot be read.
        """
        if not self._recordings or generator.random() >= self.probability:
            return speech_N
        recording = generator.choice(self._recordings)
        snr_db = generator.uniform(self.low_snr_db, self.high_snr_db)
        duration_s = len(speech_N) / sample_rate_hz
        latest_s = max(0.0, recording.duration - duration_s)
        samples = read_sound(
            recording,
            sample_rate_hz,
            start_s=generator.uniform(0.0, latest_s),
            duration_s=min(duration_s, recording.duration),
        )
        noise_N = np.resize(samples, len(speech_N))
        noise_power = float(np.square(noise_N).mean())
        if noise_power == 0.0:  # a silent stretch has no level
            return speech_N
        power = float(np.square(speech_N).mean())
        scale = (power / noise_power * 10 ** (-snr_db / 10)) ** 0.5
        return speech_N + np.float32(scale) * noise_N
