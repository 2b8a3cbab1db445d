"""Composing a recipe and overrides into a plain config dict with Hydra."""

from __future__ import annotations

import re
import tempfile
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
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from asr.cli.override import LIST_KEYS, TEXT_KEYS, expand_sweep, parse_overrides
from asr.cli.parser import did_you_mean
from asr.cli.recipe import (
    RECIPE_KEYS,
    RECIPE_SUFFIX,
    Recipe,
    check_keys,
    locate_configs,
    read_group_file,
    read_recipe,
    yaml_message,
)
from asr.errors import InputError
from asr.model.plugins import PLUGINS, allow

__all__ = ["compose_recipe", "expand_sweep", "locate_configs"]

_PICKS_ONLY = "__picks_only__"
_RESOLVED = "__resolved__"
_FROM_FILE = "__from_file__"
_PICKED: dict[str, dict[str, Any]] = {}
"""Cache of `_compose_picks`."""


class ProjectConfigs(SearchPathPlugin):
    """Hydra plugin that adds the project's config groups after the recipe's folder."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the config groups; Hydra calls this when it starts."""
        search_path.append("encore", str(locate_configs()))


def compose_recipe(recipe: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Compose ``recipe`` with ``overrides`` into nested plain dicts, interpolations resolved.

    Every key that the recipe or an override sets must exist in the picked configs, apart from
    ``RECIPE_KEYS``. From then on, classes of the recipe's plugins may be built.

    Raises:
        InputError: the recipe or an override is not usable; the message is one line.
    """
    read = read_recipe(recipe)
    parsed = parse_overrides(overrides)
    choices = [override for override in parsed if _is_choice(override, read)]
    for override in parsed:
        _check_single(override)
    files = {choice.key_or_group: path for choice in choices if (path := _file_of(choice))}
    for choice in choices:
        _check_choice(choice, read, is_file=choice.key_or_group in files)
    for group, file in files.items():
        ConfigStore.instance().store(_FROM_FILE, read_group_file(group, file), group=group)

    Plugins.instance().register(ProjectConfigs)
    with (
        _one_line(read),
        initialize_config_dir(str(read.path.parent), job_name="asr", version_base="1.3"),
    ):
        picked = [
            f"{group}={_FROM_FILE}" if (group := choice.key_or_group) in files else _line(choice)
            for choice in choices
        ]
        single = [override for override in parsed if override not in choices]
        name = read.path.stem
        if read.resolved:
            name, picked = _store_resolved(read, choices, files), []
            known = _plain(compose(name)) if single else {}
        else:
            free = dict.fromkeys(RECIPE_KEYS)
            known = {**_compose_picks(read, picked), **free}
            check_keys(read.body, known, where=str(recipe))
            known = _merged(known, read.body)
        for override in single:
            check_keys(_nested(override), known)
        config = compose(name, overrides=[*picked, *map(_line, single)])
        plain = with_texts(_plain(config, resolve=True))
    allow(plain.get(PLUGINS))
    return plain


def with_texts(config: dict[str, Any]) -> dict[str, Any]:
    """Turn names and paths that YAML read as integers back into text.

    Raises:
        InputError: a value has another type, such as a list instead of one name.
    """
    for key in sorted(TEXT_KEYS | LIST_KEYS):
        *sections, leaf = key.split(".")
        section: Any = config
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and section.get(leaf) is not None:
            section[leaf] = _as_text(key, section[leaf])
    return config


def _as_text(key: str, value: Any) -> Any:
    if isinstance(value, list) and key in LIST_KEYS:
        return [_as_text(key, one) for one in value]
    if isinstance(value, bool) or not isinstance(value, str | int):
        what = "one name, or several in brackets," if key in LIST_KEYS else "one name"
        shown = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
        raise InputError(
            f"{key} is {shown}; {what} is expected (put a name that YAML reads as something else "
            f"in quotes: {key}=\"'{shown}'\")"
        )
    return str(value)


def _store_resolved(recipe: Recipe, choices: Sequence[Override], files: Mapping[str, Path]) -> str:
    """Store a run's config, without groups in ``choices``, as Hydra's primary config."""
    chosen = {
        (group := choice.key_or_group): _FROM_FILE if group in files else choice.value()
        for choice in choices
    }
    kept = {key: value for key, value in recipe.body.items() if key not in chosen}
    defaults = [*({group: name} for group, name in chosen.items()), "_self_"]
    ConfigStore.instance().store(_RESOLVED, {"defaults": defaults, **kept})
    return _RESOLVED


def _compose_picks(recipe: Recipe, choices: list[str]) -> dict[str, Any]:
    """Compose the ``defaults`` list alone, without the body of the recipe.

    It is cached until a file of a config group changes, as the variants of a comparison usually
    pick the same configs and differ in single keys.
    """
    changed = sorted(
        (str(file), file.stat().st_mtime_ns)
        for root in _roots(recipe)
        for group in {name.partition("/")[0] for name in recipe.picks}
        for file in (root / group).rglob("*.yaml")
    )
    key = repr((recipe.picks, choices, changed))
    if key not in _PICKED or _FROM_FILE in key:
        defaults = [{group: names} for group, names in recipe.picks.items()]
        ConfigStore.instance().store(_PICKS_ONLY, {"defaults": [*defaults, "_self_"]})
        _PICKED[key] = _plain(compose(_PICKS_ONLY, overrides=choices))
    return _PICKED[key]


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into ``config``, section by section."""
    merged = dict(config)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _plain(config: DictConfig, *, resolve: bool = False) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _nested(override: Override) -> dict[str, Any]:
    """Return ``a.b=1`` as ``{"a": {"b": 1}}``."""
    nested: Any = override.value()
    for part in reversed(override.key_or_group.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def _is_choice(override: Override, recipe: Recipe) -> bool:
    """Return whether ``override`` picks from a config group, like ``encoder=conformer_m``."""
    group = override.key_or_group
    named = group in recipe.picks or any((root / group).is_dir() for root in _roots(recipe))
    return named and not isinstance(override.value(), dict)


def _check_single(override: Override) -> None:
    if override.is_sweep_override():
        raise InputError(
            f"{_line(override)}: one value is allowed here; only `asr compare` takes several "
            "(a,b), and a list needs brackets: [a,b]"
        )


def _file_of(choice: Override) -> Path | None:
    """Return the file that ``choice`` names instead of a config of its group, if any."""
    value = choice.value()
    return Path(value) if isinstance(value, str) and value.endswith(RECIPE_SUFFIX) else None


def _check_choice(choice: Override, recipe: Recipe, *, is_file: bool) -> None:
    group, value = choice.key_or_group, choice.value()
    if group not in recipe.picks:
        raise InputError(
            f"{_line(choice)}: the recipe picks no {group}, only {', '.join(recipe.picks)}"
        )
    if is_file:
        if isinstance(recipe.picks[group], list):
            raise InputError(f"{_line(choice)}: {group} takes a list of parts, [a,b], not one file")
        return
    options = _options(group, recipe)
    for name in value if isinstance(value, list) else [value]:
        if not isinstance(name, str) or name not in options:
            raise InputError(_unknown_choice(group, str(name), options))


def _unknown_choice(group: str, name: str, options: Sequence[str]) -> str:
    if not options:
        groups = sorted(folder.name for folder in locate_configs().iterdir() if folder.is_dir())
        return f"there is no config group {group}; groups are {', '.join(groups)}"
    hint = did_you_mean(name, options)
    return f"no {group} config is called '{name}'{hint} ({group} is one of {', '.join(options)})"


def _roots(recipe: Recipe) -> tuple[Path, Path]:
    return recipe.path.parent, locate_configs()


def _options(group: str, recipe: Recipe) -> list[str]:
    return sorted({file.stem for root in _roots(recipe) for file in (root / group).glob("*.yaml")})


@contextmanager
def _one_line(recipe: Recipe) -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf into a one-line InputError."""
    name = recipe.path.name
    try:
        yield
    except MissingConfigException as error:
        group, _, missing = (error.missing_cfg_file or "").rpartition("/")
        choice = _unknown_choice(group, missing, _options(group, recipe))
        raise InputError(f"{name}: {choice}") from error
    except yaml.YAMLError as error:
        raise InputError(yaml_message(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{name}: {_reason(error.__cause__ or error)}") from error


def _reason(error: BaseException) -> str:
    key = getattr(error, "full_key", None) or "a value"
    if isinstance(error, MissingMandatoryValue):
        return f"{key} must be set"
    variable = re.search(r"Environment variable '(\w+)' not found", str(error))
    if variable:
        return f"{key} needs the environment variable {variable[1]}, which is not set"
    return f"{key}: {str(error).strip().partition(chr(10))[0]}"


GROUP = "reuse"
_RECIPE = f"defaults:\n  - {GROUP}: none\n  - _self_\n"


def compose_reuse(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the reuse config of overrides such as ``reuse=probs reuse.group_size=2``.

    Raises:
        InputError: there is no override, or one has a key other than ``reuse`` or is not usable.
    """
    if not overrides:
        raise InputError("no schedule given; for example reuse=probs reuse.group_size=2")
    for line, override in zip(overrides, parse_overrides(overrides), strict=True):
        if override.key_or_group.partition(".")[0] != GROUP:
            raise InputError(
                f"{line}: only the schedule of a trained model can change; "
                f"allowed: {GROUP}=… and {GROUP}.KEY=…"
            )
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / f"{GROUP}.yaml"
        recipe.write_text(_RECIPE, encoding="utf-8")
        reuse: dict[str, Any] = compose_recipe(recipe, overrides)[GROUP]
    return reuse
