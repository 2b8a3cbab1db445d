"""A tiny model under several reuse methods at once, for tracing takes seconds a layer."""

from __future__ import annotations

import copy
from typing import Any

from tests.model.configs import CONFIG

ALONE: dict[str, dict[str, Any]] = {
    "grouped.Grouped": {"frames_per_group": 3},
    "pooled.Pooled": {"pool_size": 3},
}
IN_PAIRS: dict[str, dict[str, Any]] = {
    "top_k.ReuseTopK": {"num_kept": 4},
    "scores.ReuseScores": {"correction": "diagonal", "bandwidth": 2},
}


def many_methods() -> dict[str, Any]:
    """Config of a Transformer with one or two layers of the methods hardest to export.

    What the others do these do too.
    """
    parts = [
        {"layers": 1, "method": {"_target_": f"asr.reuse.{name}", **keys}}
        for name, keys in ALONE.items()
    ] + [
        {"layers": 2, "method": {"_target_": f"asr.reuse.{name}", "group_size": 2, **keys}}
        for name, keys in IN_PAIRS.items()
    ]
    config = copy.deepcopy(CONFIG)
    config["reuse"] = {"_target_": "asr.reuse.mixed.Mixed", "parts": parts}
    config["encoder"] = {
        "_target_": "asr.encoder.transformer.Transformer",
        "num_layers": len(ALONE) + 2 * len(IN_PAIRS),
        "d_model": 16,
        "num_heads": 2,
        "ffn_dim": 32,
        "positions": "relative",
        "subsampling": "conv4",
        "subsampling_channels": 16,
        "dropout": 0.1,
    }
    return config


def small() -> dict[str, Any]:
    """Config of a Conformer with two layers that share a map, rotary positions."""
    config = copy.deepcopy(CONFIG)
    config["encoder"] |= {
        "num_layers": 2,
        "positions": "rotary",
        "subsampling": "separable8",
        "subsampling_channels": 16,
    }
    return config
