"""Waveform augmentation with recorded noise and with room impulse responses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.data.manifest import Utterance, read_manifest
from asr.errors import InputError
from asr.ranges import Decibels, Share, in_ranges


def read_sounds(
    folder: str | None, parts: Sequence[str], probability: float, key: str
) -> list[Utterance]:
    """Return the recordings of ``<folder>/<part>.jsonl.gz`` for each part; none without a folder.

    Raises:
        InputError: a manifest is missing, no parts are given, or the probability is outside 0 to
            1; the message names the config ``key``.
    """
    if not 0 <= probability <= 1:
        raise InputError(f"{key}.probability: {probability:g} must be between 0 and 1")
    if folder is None:
        return []
    if not parts:
        raise InputError(f"{key}.parts: name one manifest of {folder} or more")
    found: list[Utterance] = []
    for part in parts:
        manifest = Path(folder, f"{part}.jsonl.gz")
        if not manifest.is_file():
            there = sorted(file.name.partition(".")[0] for file in Path(folder).glob("*.jsonl.gz"))
            has = f"it has {', '.join(there)}" if there else "`asr prepare` makes such folders"
            raise InputError(f"{key}.folder: {folder} has no manifest {manifest.name}; {has}")
        found += read_manifest(manifest)
    return found


class SoundError(InputError):
    """A recording that cannot be mixed into speech; ``sound`` is its file."""

    def __init__(self, sound: str, message: str) -> None:
        super().__init__(message)
        self.sound = sound


def read_sound(
    recording: Utterance,
    sample_rate_hz: int,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> NDArray[np.float32]:
    """Read a recording, or a segment of it that begins at ``start_s``, at ``sample_rate_hz``.

    Raises:
        SoundError: it cannot be read.
    """
    path = recording.audio_path
    try:
        waveform = read_audio(
            path,
            start_s=recording.start_s + start_s,
            duration_s=recording.duration_s if duration_s is None else duration_s,
            channel=channel,
        )
    except InputError as error:
        raise SoundError(str(path), str(error)) from error
    return resample(waveform, sample_rate_hz).samples


@in_ranges("data.noise")
class NoiseMix:
    """Recorded noise mixed into speech at a random signal-to-noise ratio.

    Args:
        folder: made by `asr prepare musan`, or any folder of manifests; None adds nothing.
        parts: the manifests of ``folder`` to draw from; all recordings have equal probability.
        low_snr_db, high_snr_db: bounds of the ratio of mean powers over the utterance, which is
            drawn uniformly.
        probability: share of utterances that get noise.

    A recording shorter than the utterance is repeated.
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
        """Return the utterance (N,) with noise or unchanged, as ``generator`` draws.

        Raises SoundError if the noise cannot be read.
        """
        if not self._recordings or generator.random() >= self.probability:
            return speech_N
        recording = generator.choice(self._recordings)
        snr_db = generator.uniform(self.low_snr_db, self.high_snr_db)
        duration_s = len(speech_N) / sample_rate_hz
        latest_s = max(0.0, recording.duration_s - duration_s)
        samples = read_sound(
            recording,
            sample_rate_hz,
            start_s=generator.uniform(0.0, latest_s),
            duration_s=min(duration_s, recording.duration_s),
        )
        noise_N = np.resize(samples, len(speech_N))
        noise_power = float(np.square(noise_N).mean())
        if noise_power == 0.0:  # a silent segment has no level
            return speech_N
        power = float(np.square(speech_N).mean())
        scale = (power / noise_power * 10 ** (-snr_db / 10)) ** 0.5
        return speech_N + np.float32(scale) * noise_N


@in_ranges("data.reverb")
class Reverb:
    """Convolution of speech with a random room impulse response (Ko et al. 2017).

    The direct path, taken as the largest sample of the response, stays in place, so words do not
    move. Length and energy of the utterance stay the same. Only the first channel of a response is
    used.

    Args:
        folder: made by `asr prepare rirs`, or any folder of manifests; None changes nothing.
        parts: the manifests of ``folder`` to draw from: first a manifest, then a response in it,
            each with equal probability.
        probability: share of utterances that are convolved.
    """

    def __init__(self, *, folder: str | None, parts: Sequence[str], probability: Share) -> None:
        self._responses = [
            read_sounds(folder, [part], probability, "data.reverb") for part in parts if folder
        ]
        self.probability = probability

    def __call__(
        self, speech_N: NDArray[np.float32], sample_rate_hz: int, generator: random.Random
    ) -> NDArray[np.float32]:
        """Return the utterance (N,) with reverberation or unchanged, as ``generator`` draws.

        Raises SoundError if the response cannot be read.
        """
        if not self._responses or generator.random() >= self.probability:
            return speech_N
        response = generator.choice(generator.choice(self._responses))
        return convolve(speech_N, read_sound(response, sample_rate_hz, channel=1))


def convolve(speech_N: NDArray[np.float32], response_R: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve speech (N,) with ``response_R``, keeping its timing, length and energy."""
    direct = int(np.abs(response_R).argmax())
    size = 1 << (len(speech_N) + len(response_R) - 2).bit_length()
    spectrum = np.fft.rfft(speech_N, size) * np.fft.rfft(response_R, size)
    heard_N = np.fft.irfft(spectrum, size)[direct : direct + len(speech_N)]
    energy, before = float(np.square(heard_N).sum()), float(np.square(speech_N).sum())
    if energy == 0.0:
        return speech_N
    return np.asarray(heard_N * (before / energy) ** 0.5, dtype=np.float32)
