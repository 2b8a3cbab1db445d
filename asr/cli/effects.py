"""Detection of overrides without effect, which commands refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr.cli.override import parse_overrides
from asr.cli.recipe import lookup
from asr.errors import InputError
from asr.interop.hub import is_hub, local_model, pinned
from asr.model.package import CONFIG, check_files, package_folder, read_config

_NEEDS = {
    "data.noise": "data.noise.folder",
    "data.reverb": "data.reverb.folder",
    "train.distillation": "train.distillation.teacher",
}
"""Sections that have no effect while this key is null."""
_TOKENIZER = "text.tokenizer"
_FILE = f"{_TOKENIZER}.model"
_OWN = f"{_TOKENIZER}.of_init"


def check_effects(variants: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]]) -> None:
    """Raise InputError for an override that has no effect in any of ``variants``.

    A variant is its overrides and the resulting config, before `with_tokenizer_of_init`.
    """
    found = [idle_overrides(overrides, config) for overrides, config in variants.values()]
    for key, reason in found[0].items():
        if all(key in each for each in found):
            raise InputError(f"{key} has no effect: {reason}")


def effective_overrides(overrides: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Return ``overrides`` without those that change nothing in ``config``."""
    idle = idle_overrides(overrides, config)
    parsed = zip(overrides, parse_overrides(overrides), strict=True)
    return [line for line, override in parsed if override.key_or_group not in idle]


def idle_overrides(overrides: Sequence[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of overrides that change nothing in ``config``, with the reasons."""
    theirs = _tokenizer_of_init(config)
    idle = {}
    for key in (override.key_or_group for override in parse_overrides(overrides)):
        section = key.rpartition(".")[0]
        need = _NEEDS.get(section)
        if need is not None and key != need and lookup(config, need) is None:
            idle[key] = f"{need} is not set"
        elif section == "train.averaging" and key != "train.averaging.kind":
            if lookup(config, "train.averaging.kind") == "none":
                idle[key] = "train.averaging.kind is none"
        elif section == _TOKENIZER and theirs is not None:
            name = key.rpartition(".")[2]
            if lookup(config, key) != theirs.get(name):
                idle[key] = (
                    f"init={config['init']} brings its own tokenizer ({name}={theirs.get(name)}); "
                    f"leave it out, or set {_OWN}=false for a tokenizer of these transcripts"
                )
        elif section == _TOKENIZER and key != _FILE and lookup(config, _FILE) is not None:
            idle[key] = f"{_FILE} names an existing tokenizer"
    return idle


def with_tokenizer_of_init(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with the initial model's tokenizer, if it should use that.

    Models on the Hub are pinned to their current commits.
    """
    config = _pinned(config)
    theirs = _tokenizer_of_init(config)
    if theirs is None:
        return config
    return {**config, "text": {**config["text"], "tokenizer": theirs}}


def _pinned(config: dict[str, Any]) -> dict[str, Any]:
    if is_hub(config.get("init")):
        config = {**config, "init": pinned(config["init"])}
    teacher = lookup(config, "train.distillation.teacher")
    if is_hub(teacher):
        train = config["train"]
        distillation = {**train["distillation"], "teacher": pinned(teacher)}
        config = {**config, "train": {**train, "distillation": distillation}}
    return config


def _tokenizer_of_init(config: Mapping[str, Any]) -> dict[str, Any] | None:
    if not config.get("init") or lookup(config, _OWN) is False:
        return None
    folder = package_folder(local_model(config["init"]))
    check_files(folder)
    tokenizer = lookup(read_config(folder / CONFIG), _TOKENIZER)
    return {**tokenizer, "of_init": True} if isinstance(tokenizer, Mapping) else None
