"""Client of the worker process: speaks utterances with espeak-ng and finishes recordings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np

from asr.audio.resample import resample
from asr.data.synthetic.plan import PlannedUtterance
from asr.data.synthetic.worker import HEADER
from asr.errors import check_installed
from asr.types import Waveform

SAMPLE_RATE_HZ = 16_000
_SILENCE = 0.005  # of full scale; softer samples at the start and the end are trimmed
_MARGIN_S = 0.06
_LEVEL_DB = (-27.0, -21.0)  # rms of full scale
_NOISE_DB = (-72.0, -60.0)


def record(speech: Waveform, *, seed: int) -> Waveform:
    """Return ``speech`` at 16 kHz with short margins, a random level and a noise floor.

    Digital silence would dominate logarithmic features, and no microphone gives it.
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


def require_synthesizer() -> None:
    """Raise ``InputError`` if the optional synthesiser is not installed; import nothing."""
    check_installed("the synthetic corpus", ("espeakng_loader",), extra="synthetic")


class Speaker:
    """A fresh worker process, used as a context manager; leaving it ends the process."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asr.data.synthetic.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> Speaker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def speak(self, utterance: PlannedUtterance) -> Waveform:
        """Speak an utterance with espeak-ng, at its own rate; ``RuntimeError`` if it dies."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        voice = utterance.voice
        request = {
            "text": utterance.text,
            "voice": voice.name,
            "rate": voice.rate,
            "pitch": voice.pitch,
            "pitch_range": voice.pitch_range,
            "seed": utterance.seed,
        }
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure(utterance) from None
        header = self._process.stdout.read(HEADER.size)
        if len(header) < HEADER.size:
            raise self._failure(utterance)
        sample_rate_hz, num_bytes = HEADER.unpack(header)
        pcm = self._process.stdout.read(num_bytes)
        if len(pcm) < num_bytes:
            raise self._failure(utterance)
        samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float32)
        samples /= np.float32(32768)
        return Waveform(samples, sample_rate_hz)

    def _failure(self, utterance: PlannedUtterance) -> RuntimeError:
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        message = last[0] if last else "no message"
        return RuntimeError(
            f"the speech synthesiser stopped at {utterance.utterance_id}: {message}"
        )
