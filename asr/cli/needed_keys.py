"""Keys that a recipe must set or pick for a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.cli.run_folder import lookup
from asr.errors import InputError

TO_TIME = ("features.fbank", "encoder", "reuse", "metrics.latency")
TO_TRAIN = (
    *TO_TIME,
    *("text.normalize", "text.tokenizer", "data.dataset", "data.batching", "data.loader"),
    *("head", "decode", "train.optim", "train.trainer", "train.averaging", "seed", "splits"),
)


def check_keys_for(what: str, keys: Sequence[str], config: Mapping[str, Any], recipe: Path) -> None:
    """Raise InputError unless all ``keys`` are set."""
    missing = [key for key in keys if lookup(config, key) is None]
    if missing:
        raise InputError(
            f"{recipe}: no {missing[0]}; a recipe to {what} sets or picks {', '.join(keys)}"
        )
