"""Reading a recipe before Hydra does, so that what is wrong with it can be said plainly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from asr.cli.suggest import nearest
from asr.types import InputError

RECIPE_KEYS = ("name", "seed", "splits", "init")
"""Keys a recipe may set beside the config groups; what lies below them is free."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file: what it ``picks`` from each config group, and the keys it sets itself."""

    path: Path
    picks: Mapping[str, str | list[str]]
    body: Mapping[str, Any]


def read_recipe(path: Path) -> Recipe:
    """The recipe at ``path``.

    Raises:
        InputError: no such file, not YAML, or a ``defaults`` list that is missing or malformed.
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
    defaults = content.get("defaults") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(defaults, list):
        raise InputError(f"{path} is not a recipe: it needs a `defaults` list of config groups")
    body = {str(key): value for key, value in content.items() if key != "defaults"}
    return Recipe(path.resolve(), _picks(defaults, path), body)


def yaml_message(error: yaml.YAMLError, path: Path | None = None) -> str:
    """One line for a YAML syntax error: file, line and what the parser says."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not valid YAML"
    file = path or (Path(mark.name) if mark else "YAML")
    return f"{file}:{mark.line + 1}: {problem}" if mark else f"{file}: {problem}"


def _picks(defaults: list[Any], path: Path) -> dict[str, str | list[str]]:
    """The entries of a ``defaults`` list, one for each group."""
    if not defaults or defaults[-1] != "_self_":
        raise InputError(f"{path}: the last entry of `defaults` must be `_self_` (the file itself)")
    picks: dict[str, str | list[str]] = {}
    for entry in defaults[:-1]:
        if not _is_pick(entry):
            raise InputError(f"{path}: {entry!r} in `defaults` must read `group: name`")
        ((group, names),) = entry.items()
        if group in picks:
            raise InputError(f"{path}: `defaults` picks {group} twice")
        picks[group] = names
    if not picks:
        raise InputError(f"{path}: `defaults` picks nothing, such as `encoder: conformer_s`")
    return picks


def _is_pick(entry: Any) -> bool:
    if not isinstance(entry, dict) or len(entry) != 1:
        return False
    ((group, names),) = entry.items()
    listed = names if isinstance(names, list) else [names]
    plain = isinstance(group, str) and " " not in group and "@" not in group
    return plain and all(isinstance(name, str) for name in listed)


def _near(path: Path) -> str:
    """What to say about the surroundings of a recipe that is not there."""
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    files = {file.stem: str(file) for file in sorted(folder.glob("*.yaml"))}
    near = [files[stem] for stem in nearest(path.stem, files)]
    return f"; did you mean {' or '.join(near)}?" if near else f"; {_recipes_in(folder)}"


def _recipes_in(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.glob("*.yaml"))
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"{folder} has {listed}" if names else f"{folder} has no .yaml files"
