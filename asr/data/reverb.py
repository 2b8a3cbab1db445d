"""Speech as it sounds in a room.

Shape legend: N samples of speech, R of an impulse response.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.data.sounds import read_sound, read_sounds
from asr.ranges import Share, in_ranges


@in_ranges("data.reverb")
class Reverb:
    """Convolves an utterance with a random impulse response (Ko et al. 2017).

    The direct path, taken to be the largest sample of the response, stays where it was, so that
    words do not move, and so do length and energy of the utterance. Of a response for several
    microphones the first is used.

    Args:
        folder: what `asr prepare rirs` made, or any folder of manifests; None changes nothing.
        parts: the manifests of ``folder`` to draw from; each is drawn as often as another, and
            so is each response in it.
        probability: of an utterance to be convolved.
    """

    def __init__(self, *, folder: str | None, parts: Sequence[str], probability: Share) -> None:
        self._responses = [
            read_sounds(folder, [part], probability, "data.reverb") for part in parts if folder
        ]
        self.probability = probability

    def __call__(
        self, speech_N: NDArray[np.float32], sample_rate_hz: int, generator: random.Random
    ) -> NDArray[np.float32]:
        """The utterance (N,) in a room, or as it is; the choice is ``generator``'s.

        Raises SoundError where the response cannot be read.
        """
        if not self._responses or generator.random() >= self.probability:
            return speech_N
        response = generator.choice(generator.choice(self._responses))
        return convolve(speech_N, read_sound(response, sample_rate_hz, channel=1))


def convolve(speech_N: NDArray[np.float32], response_R: NDArray[np.float32]) -> NDArray[np.float32]:
    """The speech (N,) behind ``response_R``, its direct path in place and its energy kept."""
    direct = int(np.abs(response_R).argmax())
    size = 1 << (len(speech_N) + len(response_R) - 2).bit_length()
    spectrum = np.fft.rfft(speech_N, size) * np.fft.rfft(response_R, size)
    heard_N = np.fft.irfft(spectrum, size)[direct : direct + len(speech_N)]
    energy, before = float(np.square(heard_N).sum()), float(np.square(speech_N).sum())
    if energy == 0.0:
        return speech_N
    return np.asarray(heard_N * (before / energy) ** 0.5, dtype=np.float32)
