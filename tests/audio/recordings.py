"""Audio files as recorders leave them, and as people join them."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16000


def speech_like(duration_s: float, seed: int = 0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Noise that grows and fades, so that a stretch cannot be taken for another one."""
    num_samples = round(duration_s * rate_hz)
    noise = np.random.default_rng(seed).normal(0, 0.1, num_samples)
    swell = 0.6 + 0.4 * np.sin(np.arange(num_samples) / rate_hz * 5)
    return (noise * swell).astype(np.float32)


def encoded(
    samples: NDArray[np.float32],
    container: str = "WAV",
    coding: str | None = None,
    rate_hz: int = RATE_HZ,
) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=coding)
    return buffer.getvalue()


def mp3(samples: NDArray[np.float32], *, counts_frames: bool, rate_hz: int = RATE_HZ) -> bytes:
    """An mp3 of variable bit rate, with or without the frame that counts the others."""
    data = encoded(samples, "MP3", "MPEG_LAYER_III", rate_hz)
    tag = max(data.find(b"Info"), data.find(b"Xing"))
    assert 0 < tag < 64
    if counts_frames:
        return data
    second = data.index(data[:2], 4)  # the sync word, the version and the layer
    return data[second:]


def with_sizes(data: bytes, *sizes: tuple[bytes, str, int]) -> bytes:
    """The file with other numbers behind the names of chunks: name, `struct` format, number."""
    changed = bytearray(data)
    for name, layout, size in sizes:
        struct.pack_into(layout, changed, changed.index(name) + len(name), size)
    return bytes(changed)
