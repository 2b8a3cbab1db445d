"""A tiny model under every reuse method at once: exporting one after the other takes minutes."""

from __future__ import annotations

import copy
from typing import Any

from tests.model.configs import CONFIG

ALONE: dict[str, dict[str, Any]] = {
    "none.NoReuse": {"fused": True},
    "few_heads.FewHeads": {"num_heads": 1},
    "local.Local": {"width": 2},
    "grouped.Grouped": {"frames_per_group": 3},
    "pooled.Pooled": {"pool_size": 3},
    "linear.Linear": {},
    "within.ReuseWithin": {"num_mixes": 2},
    "absent.Absent": {"first_layer": 0},
}
IN_PAIRS: dict[str, dict[str, Any]] = {
    "probs.ReuseProbs": {},
    "band.ReuseBand": {"width": 3},
    "top_k.ReuseTopK": {"num_kept": 4},
    "heads.ReuseHeads": {"num_reused": 1},
    "scores.ReuseScores": {"correction": "diagonal", "bandwidth": 2},
    "kv.ReuseKeysValues": {},
    "context.ReuseContext": {},
}


def every_method() -> dict[str, Any]:
    """Config of a Transformer with one layer of each method that shares nothing, two of others."""
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
        "subsampling": "separable8",
        "subsampling_channels": 16,
        "dropout": 0.1,
    }
    return config
