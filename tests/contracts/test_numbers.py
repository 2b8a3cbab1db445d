"""Every number of every config has a range, and every option too: what lies outside is named."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from asr.cli.main import VERBS, build_parser
from asr.data.dataset import SpeechDataset
from asr.errors import InputError
from asr.head.transducer import TransducerHead
from asr.model.build import build
from asr.ranges import fits, parameter_hints, shown
from asr.reuse.none import NoReuse

from .tree import PARTS, config_files, relative

NEVER = [math.nan, math.inf, -math.inf, 1e30, -(10**5000), "text", True]
SOMETIMES = [-1, 0, 0.5, 10**9]
ENDLESS_S = 5.0

INJECTED: dict[str, dict[str, Any]] = {
    "encoder": {"reuse": NoReuse(), "num_mel_bins": 80},
    "head": {"d_model": 8, "vocab_size": 5},
    "lm": {"vocab_size": 5},
    "data.dataset": {"tokenizer": None, "normalizer": None, "sample_rate_hz": 16000},
    "data.loader": {"utterances": [], "training": False, "batching": None},
}


def numeric_keys(section: Mapping[str, Any], hints: Mapping[str, Any]) -> Iterator[str]:
    """Keys that take a number, or a list of them, whether or not the config sets one."""
    for name in section:
        if name in hints and (fits(1, hints[name]) or takes_numbers(hints[name])):
            yield name


def takes_numbers(hint: Any) -> bool:
    return any(fits([one], hint) for one in (1, 0.5, 8)) and not fits(["text"], hint)


def sections() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every section of a config that names a class: file, dotted key, content."""
    for path in config_files():
        loaded = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(loaded, dict)
        content: dict[str, Any] = {str(name): part for name, part in loaded.items()}
        group = path.parent.name
        named = {f"{group}.{path.stem}": content}
        if group in PARTS:
            named = {f"{group}.{name}": part for name, part in content.items()}
        for key, section in named.items():
            yield relative(path), key if group in PARTS else group, section


def class_of(section: Mapping[str, Any]) -> type:
    module, _, name = section["_target_"].rpartition(".")
    target: type = getattr(__import__(module, fromlist=[name]), name)
    return target


SECTIONS = {(file, key): section for file, key, section in sections()}
CASES = {
    (class_of(section), name): (file, key, name)
    for (file, key), section in SECTIONS.items()
    for name in numeric_keys(section, parameter_hints(class_of(section)))
}
"""Every number of every class once, in one of the configs that set it."""


def changed(file: str, key: str, name: str, value: object) -> dict[str, Any]:
    section = SECTIONS[file, key]
    is_list = takes_numbers(parameter_hints(class_of(section))[name])
    return {**section, name: [value] if is_list else value}


def build_section(config: Mapping[str, Any], key: str) -> None:
    target = class_of(config)
    wants_head = "head" in parameter_hints(target)
    injected = {"head": TransducerHead(**INJECTED["head"])} if wants_head else INJECTED.get(key, {})
    if key == "data.loader":
        dataset = SpeechDataset(**INJECTED["data.dataset"])
        injected = injected | {"dataset": dataset}
    with torch.device("cpu" if key.startswith("features") else "meta"):
        build(config, key, **injected)


def test_there_are_numbers_to_try() -> None:
    assert len(CASES) > 120


def test_a_number_out_of_range_is_named() -> None:
    for file, key, name in CASES.values():
        for value in [*NEVER, *SOMETIMES]:
            tried = f"{key}.{name}={shown(value)} of {file}"
            begun_s, said = time.perf_counter(), ""
            try:
                build_section(changed(file, key, name, value), key)
            except InputError as error:
                said = str(error)
            assert said or value not in NEVER, f"{tried} is accepted"
            assert not said or (f"{key}." in said and name in said), f"{tried}: {said}"
            assert "\n" not in said, tried
            assert len(said) < 300, tried
            assert time.perf_counter() - begun_s < ENDLESS_S, tried


def number_options() -> Iterator[tuple[str, str, argparse.Action]]:
    for verb in VERBS:
        yield from _options_of(verb, build_parser(verb))


def _options_of(
    words: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, str, argparse.Action]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from _options_of(f"{words} {name}", inner)
        elif takes_a_number(action):
            yield words, (action.option_strings or [action.dest])[-1], action


def takes_a_number(action: argparse.Action) -> bool:
    if action.choices or not callable(action.type):
        return False
    try:
        return isinstance(action.type("1"), int | float)
    except argparse.ArgumentTypeError as error:
        return "a number" in str(error)


def test_an_option_out_of_range_is_refused() -> None:
    refused = ["nan", "inf", "-inf", "1e30", "-1e30", "9" * 5000, "text", "", "10" * 9]
    options = list(number_options())
    assert len(options) > 20
    for words, option, action in options:
        assert callable(action.type)
        for text in refused:
            with pytest.raises(argparse.ArgumentTypeError, match="allowed: a ") as caught:
                action.type(text)
            assert len(str(caught.value)) < 200, f"asr {words} {option}"
