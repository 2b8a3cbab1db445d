"""An application with a tiny model, and recordings to send."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.decode.beam import BeamDecoder
from asr.decode.greedy import GreedyDecoder
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.model.package import load_package
from asr.serve.batcher import Hotwords
from asr.serve.server import listen, server_of
from tests.decode.package import save_tiny_package

RATE_HZ = 8000


def wav(duration_s: float, seed: int = 0) -> bytes:
    """Noise as the bytes of a WAV file."""
    noise = 0.1 * np.random.default_rng(seed).normal(size=round(duration_s * RATE_HZ))
    file = io.BytesIO()
    soundfile.write(file, noise, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def tiny_transcriber(folder: Path, *, beam: int = 0) -> Callable[[Hotwords], Transcriber]:
    """The transcriber of a tiny model; with a beam for any hotwords, without one for none."""
    package = load_package(save_tiny_package(folder / "model"))

    def transcriber(hotwords: Hotwords) -> Transcriber:
        if hotwords and not beam:
            raise InputError("keywords: this server searches without a beam")
        decoder = BeamDecoder(beam=beam) if beam else GreedyDecoder()
        return Transcriber(package, decoder, strict=False)

    return transcriber


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve an application from a thread; the address."""
    listening = listen(app, "127.0.0.1", 0)
    server = server_of(app)
    thread = threading.Thread(target=server.run, args=([listening.socket],))
    thread.start()
    try:
        yield listening.address
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()
