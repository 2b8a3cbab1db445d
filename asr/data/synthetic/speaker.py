"""The worker process as seen from here: lines in, waveforms out."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np

import asr
from asr.data.synthetic.plan import Line
from asr.data.synthetic.wire import HEADER
from asr.types import InputError, Waveform


def require_synthesizer() -> None:
    """Raise ``InputError`` when the optional synthesiser is not installed; imports nothing."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError(
            "the synthetic corpus needs the speech synthesiser espeak-ng: "
            "pip install 'encore-asr[synthetic]'"
        )


class Speaker:
    """A fresh worker process. Use as a context manager: leaving it ends the process."""

    def __init__(self) -> None:
        root = str(Path(asr.__file__).resolve().parent.parent)
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

    def speak(self, line: Line) -> Waveform:
        """The line as the synthesiser says it, at its own rate; ``RuntimeError`` if it dies."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        voice = line.voice
        request = {
            "text": line.text,
            "voice": voice.name,
            "rate": voice.rate,
            "pitch": voice.pitch,
            "pitch_range": voice.pitch_range,
            "seed": line.seed,
        }
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure(line) from None
        header = self._process.stdout.read(HEADER.size)
        if len(header) < HEADER.size:
            raise self._failure(line)
        sample_rate_hz, num_bytes = HEADER.unpack(header)
        pcm = self._process.stdout.read(num_bytes)
        if len(pcm) < num_bytes:
            raise self._failure(line)
        samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float32)
        samples /= np.float32(32768)
        return Waveform(samples, sample_rate_hz)

    def _failure(self, line: Line) -> RuntimeError:
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        message = last[0] if last else "no message"
        return RuntimeError(f"the speech synthesiser stopped at {line.utterance_id}: {message}")
