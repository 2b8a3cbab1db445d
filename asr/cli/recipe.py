"""Reading a recipe before Hydra does, so that what is wrong with it can be said plainly."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from asr.cli.suggest import did_you_mean
from asr.types import InputError

RECIPE_KEYS = ("name", "seed", "splits")
"""Keys a recipe may set beside the config groups; what lies below them is free."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file: the ``defaults`` it picks (without ``_self_``) and the keys it sets."""

    path: Path
    defaults: tuple[Any, ...]
    body: dict[str, Any]

    @property
    def groups(self) -> tuple[str, ...]:
        """The config groups that the recipe picks from, in its order."""
        entries = (entry for entry in self.defaults if isinstance(entry, dict))
        return tuple(str(group) for entry in entries for group in entry)


def read_recipe(path: Path) -> Recipe:
    """The recipe at ``path``.

    Raises:
        InputError: no such file, not YAML, or no ``defaults`` list in it.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a recipe; {_recipes_in(path)}")
    if not path.is_file():
        raise InputError(f"no recipe {path}{_near(path)}")
    if path.suffix != ".yaml":
        raise InputError(f"{path} is not a recipe: its name must end in .yaml")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except yaml.YAMLError as error:
        raise InputError(yaml_message(error, path)) from error
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is not a recipe: it is not a readable text file") from error
    defaults = content.pop("defaults", None) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(defaults, list):
        raise InputError(f"{path} is not a recipe: it needs a `defaults` list of config groups")
    body = {str(key): value for key, value in content.items()}
    return Recipe(path.resolve(), tuple(d for d in defaults if d != "_self_"), body)


def check_body(recipe: Recipe, groups: Mapping[str, Any]) -> None:
    """Every key that ``recipe`` sets must exist in ``groups``, the config of its ``defaults``.

    Raises:
        InputError: the first key that does not, with the nearest that do.
    """
    schema = {**dict.fromkeys(RECIPE_KEYS), **groups}
    for key in _unknown_keys(recipe.body, schema):
        hint = did_you_mean(key, dotted_keys(schema))
        allowed = f" (a recipe sets {', '.join(schema)})" if "." not in key else ""
        raise InputError(f"{recipe.path.name}: unknown key {key}{hint}{allowed}")


def dotted_keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of a nested mapping, sections included: ``train``, ``train.optim``, …."""
    for key, value in config.items():
        yield prefix + str(key)
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")


def yaml_message(error: yaml.YAMLError, path: Path | None = None) -> str:
    """One line for a YAML syntax error: file, line and what the parser says."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not valid YAML"
    file = path or (Path(mark.name) if mark else "YAML")
    return f"{file}:{mark.line + 1}: {problem}" if mark else f"{file}: {problem}"


def _unknown_keys(
    body: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    for key, value in body.items():
        if key not in schema:
            yield f"{prefix}{key}"
        elif isinstance(value, Mapping) and isinstance(schema[key], Mapping) and schema[key]:
            yield from _unknown_keys(value, schema[key], f"{prefix}{key}.")


def _near(path: Path) -> str:
    """What to say about the surroundings of a recipe that is not there."""
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    names = [entry.name for entry in path.parent.glob("*.yaml")]
    near = difflib.get_close_matches(path.with_suffix(".yaml").name, names, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(str(path.parent / name) for name in near)}?"
    return f"; {_recipes_in(path.parent)}"


def _recipes_in(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.glob("*.yaml"))
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"{folder} has {listed}" if names else f"{folder} has no .yaml files"
