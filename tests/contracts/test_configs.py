"""Every YAML under configs and recipes composes, names classes of asr, and builds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from asr.cli.compose import compose_recipe
from asr.model.build import build_encoder, build_model, target_class
from asr.model.language_model import build_lm

from .tree import CONFIGS, PARTS, config_files, recipe_files, relative

DUE_RECIPES = {"quickstart.yaml", "digits.yaml", "librispeech_tiny.yaml", "finetune.yaml"}
NUM_DUE_CONFIGS = 43
WITHOUT_REUSE = {"none", "none_explicit"}
REUSE_METHODS = {
    *WITHOUT_REUSE, "probs", "band", "top_k", "heads", "scores", "kv", "context", "within",
    "few_heads", "local", "grouped", "pooled", "linear", "absent", "mixed",
}  # fmt: skip
KEEP_ALL_PARAMETERS = {*WITHOUT_REUSE, "within", "local", "grouped", "pooled"}


def targets(config: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every section that names a class, with its dotted key."""
    if "_target_" in config:
        yield key, config
    for name, value in config.items():
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items:
            place = name if index is None else f"{name}[{index}]"
            if isinstance(item, Mapping):
                yield from targets(item, f"{key}.{place}" if key else place)


def check_targets(config: Mapping[str, Any]) -> int:
    """Asserts that every ``_target_`` takes the keys beside it; returns how many there are."""
    found = list(targets(config))
    for key, section in found:
        arguments = inspect.signature(target_class(section, key)).parameters
        unknown = set(section) - {"_target_"} - set(arguments)
        assert not unknown, f"{key}: {section['_target_']} takes no {', '.join(sorted(unknown))}"
    return len(found)


def recipe_of(tmp_path: Path, **picks: str) -> Path:
    """A recipe that makes ``picks`` and sets nothing."""
    lines = [f"  - {group}: {name}" for group, name in picks.items()]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(["defaults:", *lines, "  - _self_", ""]))
    return path


def names_of(group: str) -> list[str]:
    return [path.stem for path in config_files() if path.parent.name == group]


@functools.cache
def reuse_config(name: str) -> dict[str, Any]:
    """The config that ``reuse=name`` picks."""
    content = OmegaConf.to_container(OmegaConf.load(CONFIGS / "reuse" / f"{name}.yaml"))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def encoder_size(config: Mapping[str, Any], reuse: Mapping[str, Any]) -> int:
    with torch.device("meta"):  # shapes only
        return num_parameters(build_encoder({**config, "reuse": reuse}))


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Every method saves parameters, but for those that only save computation."""
    for method, size in sizes.items():
        assert (size < sizes["none"]) == (method not in KEEP_ALL_PARAMETERS), method


@pytest.fixture
def _corpora(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Composing needs the name of the folder of real speech, not the folder."""
    monkeypatch.setenv("ASR_SPEECH_DIR", str(tmp_path))


def test_nothing_that_is_due_is_missing() -> None:
    assert len(config_files()) >= NUM_DUE_CONFIGS
    assert {path.name for path in recipe_files()} >= DUE_RECIPES


@pytest.mark.parametrize("path", config_files(), ids=relative)
def test_a_config_composes_alone_and_fits_its_class(path: Path, tmp_path: Path) -> None:
    group = path.parent.name
    config = compose_recipe(recipe_of(tmp_path, **{group: path.stem}))
    assert list(config) == [group]
    assert check_targets(config) >= 1
    assert ("_target_" in config[group]) != (group in PARTS)


@pytest.mark.usefixtures("_corpora")
@pytest.mark.parametrize("path", recipe_files(), ids=relative)
def test_a_recipe_composes_and_its_model_builds(path: Path) -> None:
    config = compose_recipe(path)
    assert check_targets(config) >= 4
    # A recipe that only times encoders has no head.
    trains = "head" in config
    assert trains or path.name not in DUE_RECIPES
    model: nn.Module
    with torch.device("meta"):  # shapes only
        if "lm" in config:
            model = build_lm(config, vocab_size=30)
        else:
            model = build_model(config, vocab_size=30) if trains else build_encoder(config)
    assert num_parameters(model) > 10_000


def small_recipes() -> list[Path]:
    """Recipes of which every equal group divides the depth; the others say what theirs are.

    A language model has no encoder.
    """
    return [
        path
        for path in recipe_files()
        if path.parent.name != "librispeech" and path.name != "lm.yaml"
    ]


def in_turn(place: int) -> list[str]:
    """``none`` and a quarter of the reuse methods: four neighbours together have all."""
    methods = names_of("reuse")
    return ["none", *methods[place % 4 :: 4]]


def test_no_method_is_left_out() -> None:
    assert {method for place in range(4) for method in in_turn(place)} >= REUSE_METHODS
    assert len(small_recipes()) >= 4
    assert len(names_of("encoder")) >= 4


@pytest.mark.usefixtures("_corpora")
@pytest.mark.parametrize(("place", "path"), enumerate(small_recipes()), ids=str)
def test_a_recipe_takes_any_reuse_method(place: int, path: Path) -> None:
    # Of models that stream, methods that need whole utterances are refused.
    config = compose_recipe(path, ["reuse=probs", "encoder.chunk_frames=null"])
    assert config["reuse"] == reuse_config("probs"), "so any other replaces it whole"
    check_sizes({method: encoder_size(config, reuse_config(method)) for method in in_turn(place)})


@pytest.mark.parametrize(("place", "encoder"), enumerate(names_of("encoder")), ids=str)
def test_an_encoder_builds_with_any_reuse_method(place: int, encoder: str, tmp_path: Path) -> None:
    config = compose_recipe(recipe_of(tmp_path, encoder=encoder, reuse="none"))
    sizes = {}
    for method in in_turn(place + 2):  # not those of the recipes in the same place
        reuse = reuse_config(method)
        if "pattern" in reuse:
            # Fits every depth; equal groups fit only where they divide the number of layers.
            reuse = reuse | {"group_size": None, "pattern": "LFFF"}
        sizes[method] = encoder_size(config, reuse)
    check_sizes(sizes)
