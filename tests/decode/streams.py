"""A tiny random model that streams."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from tests.model.configs import CONFIG

from .package import save_tiny_package


def streaming_config(**encoder: object) -> dict[str, Any]:
    """The config of a model that was trained in chunks of two and five frames."""
    config = copy.deepcopy(CONFIG)
    config["features"]["normalize"] = {
        "_target_": "asr.features.normalize.RunningNorm",
        "num_mel_bins": 10,
    }
    config["encoder"] |= {
        "chunk_frames": [2, 5],
        "left_frames": 8,
        "right_frames": 1,
        **encoder,
    }
    return config


def save_streaming_package(folder: Path, **encoder: object) -> Path:
    """A package in ``folder``, as `save_tiny_package` makes it."""
    return save_tiny_package(folder, streaming_config(**encoder))
