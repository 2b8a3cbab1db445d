"""Recordings that can be told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def write_noise(path: Path, duration_s: float, *, channels: int = 1, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    samples = 0.1 * generator.standard_normal((round(duration_s * 16_000), channels))
    soundfile.write(path, samples, 16_000)
