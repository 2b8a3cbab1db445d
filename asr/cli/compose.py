"""From a recipe and overrides to a plain dict.

A recipe is a Hydra primary config that lies anywhere on disk. Its ``defaults`` list picks from the
project's config groups (and from groups beside the recipe, which come first), its body changes
single keys, and the overrides of the command line have the last word. What Hydra would answer in
several lines, or accept in silence, is said here in one line: file or key, and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asr.cli.locate import locate_configs
from asr.cli.override import parse_overrides
from asr.cli.recipe import Recipe, check_body, dotted_keys, read_recipe, yaml_message
from asr.cli.suggest import did_you_mean
from asr.cli.sweep import expand_sweep
from asr.types import InputError

__all__ = ["compose_recipe", "expand_sweep", "locate_configs"]

_DEFAULTS_ONLY = "__defaults_only__"


class ProjectConfigs(SearchPathPlugin):
    """Puts the project's config groups on Hydra's search path, behind the recipe's folder."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra whenever it starts."""
        search_path.append("encore", str(locate_configs()))


def compose_recipe(recipe: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The config of ``recipe`` with ``overrides``: nested plain dicts, interpolations resolved.

    Raises:
        InputError: the recipe or an override is not usable; the message is one line.
    """
    read = read_recipe(Path(recipe))
    parsed = parse_overrides(overrides)
    choices = [override for override in parsed if _is_choice(override, read)]
    settings = [override for override in parsed if override not in choices]
    for override in parsed:
        _check_single(override)
    for choice in choices:
        _check_choice(choice, read)

    Plugins.instance().register(ProjectConfigs)
    with (
        _one_line(read.path),
        initialize_config_dir(str(read.path.parent), job_name="asr", version_base="1.3"),
    ):
        picked = [_line(choice) for choice in choices]
        check_body(read, _plain(_compose_defaults(read, picked)))
        known = _plain(compose(read.path.stem, overrides=picked))
        for setting in settings:
            _check_setting(setting, known)
        config = compose(read.path.stem, overrides=list(overrides))
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _compose_defaults(recipe: Recipe, choices: list[str]) -> DictConfig:
    """The config that the ``defaults`` list alone gives: what a recipe's body may change."""
    ConfigStore.instance().store(_DEFAULTS_ONLY, {"defaults": [*recipe.defaults, "_self_"]})
    return compose(_DEFAULTS_ONLY, overrides=choices)


def _plain(config: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _is_choice(override: Override, recipe: Recipe) -> bool:
    """Does ``override`` pick from a config group, as ``encoder=conformer_m`` does?"""
    group = override.key_or_group
    folders = (recipe.path.parent, locate_configs())
    named = group in recipe.groups or any((folder / group).is_dir() for folder in folders)
    return named and not isinstance(override.value(), dict)


def _check_single(override: Override) -> None:
    if override.is_sweep_override():
        raise InputError(
            f"{_line(override)}: one value is allowed here; several (a,b) are for `asr compare`, "
            "and a list is written in brackets: [a,b]"
        )


def _check_choice(choice: Override, recipe: Recipe) -> None:
    group = choice.key_or_group
    if group not in recipe.groups:
        hint = did_you_mean(group, recipe.groups)
        picked = ", ".join(recipe.groups)
        raise InputError(f"{recipe.path.name} picks no {group}{hint} (it picks {picked})")
    if not isinstance(choice.value(), str | list):
        raise InputError(f"{_line(choice)}: {group} takes the name of a config, {_options(group)}")


def _check_setting(setting: Override, known: Mapping[str, Any]) -> None:
    """The key must exist, and a section may not become a single value."""
    key = setting.key_or_group
    node: Any = known
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            raise InputError(f"unknown key {key}{did_you_mean(key, dotted_keys(known))}")
        node = node[part]
    if isinstance(node, Mapping) and node and not isinstance(setting.value(), dict | None):
        keys = ", ".join(f"{key}.{part}" for part in node if part != "_target_")
        raise InputError(f"{_line(setting)}: {key} is a section; set one of {keys}")


def _options(group: str) -> str:
    names = sorted(path.stem for path in (locate_configs() / group).glob("*.yaml"))
    return f"one of {', '.join(names)}"


@contextmanager
def _one_line(recipe: Path) -> Iterator[None]:
    """Turns what Hydra and OmegaConf raise into an InputError of one line."""
    try:
        yield
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        options = error.options or []
        hint = did_you_mean(name, options)
        allowed = f"one of {', '.join(options)}" if options else "there are none"
        raise InputError(
            f"{recipe.name}: no {group} config is called {name}{hint} ({allowed})"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(yaml_message(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        key = getattr(cause, "full_key", None)
        first_line = str(cause).strip().partition("\n")[0]
        raise InputError(f"{recipe.name}: {f'{key}: ' if key else ''}{first_line}") from error
