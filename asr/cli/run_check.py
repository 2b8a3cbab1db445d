"""Is a config one that can be trained or timed? Asked before anything is read or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from asr.cli.run_data import AUGMENT
from asr.cli.run_folder import lookup
from asr.cli.suggest import did_you_mean
from asr.data.splits import Splits
from asr.encoder.graphed import check_graphs
from asr.model.asr_model import AsrModel
from asr.model.build import build, build_encoder, build_frontend
from asr.ranges import Seed, check_value
from asr.train.trainer import TrainerSpec
from asr.types import InputError

TO_TIME = ("features.fbank", "encoder", "reuse", "metrics.latency")
TO_TRAIN = (
    *TO_TIME,
    *("text.normalize", "text.tokenizer", "data.dataset", "data.batching", "data.loader"),
    *("head", "decode", "train.optim", "train.trainer", "train.averaging", "seed", "splits"),
)
PLACES = {"folder": "folder of manifests", "train": "split"}


def check_keys_for(what: str, keys: Sequence[str], config: Mapping[str, Any], recipe: Path) -> None:
    """Raise InputError unless every one of ``keys`` is set."""
    missing = [key for key in keys if lookup(config, key) is None]
    if missing:
        raise InputError(
            f"{recipe}: no {missing[0]}; a recipe to {what} sets or picks {', '.join(keys)}"
        )


def check_run(config: Mapping[str, Any], recipe: Path) -> Splits:
    """Raise InputError for settings that cannot be trained; otherwise what to train on."""
    check_keys_for("train", TO_TRAIN, config, recipe)
    check_value(config["seed"], Seed, "seed")
    splits = read_splits(config)
    check_model(config)
    for key in ("text.normalize", "text.tokenizer", "decode", "metrics.latency"):
        build(lookup(config, key), key)
    if lookup(config, "metrics.latency.cuda_graphs"):
        trainer: TrainerSpec = build(lookup(config, "train.trainer"), "train.trainer")
        check_graphs(trainer.device, "metrics.latency.cuda_graphs=true")
    for key in ("train.optim", "train.trainer", "train.averaging"):
        build(lookup(config, key), key)
    if lookup(config, "train.distillation") is not None:
        build(lookup(config, "train.distillation"), "train.distillation")
    for key in AUGMENT:
        if lookup(config, f"data.{key}") is not None:
            build(lookup(config, f"data.{key}"), f"data.{key}")
    build(config["data"]["batching"], "data.batching", seed=config["seed"])
    return splits


def check_model(config: Mapping[str, Any]) -> None:
    """Raise InputError where the model cannot be built; no weights are made."""
    frontend = build_frontend(config)
    with torch.device("meta"):
        encoder = build_encoder(config, frontend.num_mel_bins)
        head = build(config["head"], "head", d_model=encoder.d_model, vocab_size=2)
    AsrModel(frontend=frontend, encoder=encoder, head=head)


def read_splits(config: Mapping[str, Any]) -> Splits:
    """The splits of a config; a single test split may be named without brackets.

    Raises:
        InputError: an unknown or missing key, or a split without a manifest.
    """
    given = config["splits"]
    keys = [field.name for field in fields(Splits)]
    if not isinstance(given, Mapping):
        raise InputError(f"splits={given}: allowed: a section with {', '.join(keys)}")
    for key in given:
        if key not in keys:
            hint = did_you_mean(key, keys) or f"; allowed: {', '.join(keys)}"
            raise InputError(f"unknown key splits.{key}{hint}")
    for key in ("folder", "train"):
        if not isinstance(given.get(key), str):
            raise InputError(f"splits.{key} must be set to the name of a {PLACES[key]}")
    test = given.get("test") or ()
    return Splits(
        folder=given["folder"],
        train=given["train"],
        dev=given.get("dev"),
        test=(test,) if isinstance(test, str) else tuple(map(str, test)),
    )
