"""Finding and reading recipes, and checking their keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

import asr
from asr.cli.parser import nearest
from asr.errors import InputError

TO_TIME = ("features.fbank", "encoder", "reuse", "metrics.latency")
TO_TRAIN = (
    *TO_TIME,
    *("text.normalize", "text.tokenizer", "data.dataset", "data.batching", "data.loader"),
    *("head", "decode", "train.optim", "train.trainer", "train.averaging", "seed", "splits"),
)


def locate_configs() -> Path:
    """Return the config groups' folder: ``asr/configs`` in a wheel, ``configs`` in a checkout."""
    return _beside_the_package("configs")


def locate_recipes() -> Path:
    """Return the recipes' folder: ``asr/recipes`` in a wheel, ``recipes`` in a checkout."""
    return _beside_the_package("recipes")


def _beside_the_package(name: str) -> Path:
    package = Path(asr.__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def check_keys(changes: Mapping[str, Any], config: Mapping[str, Any], *, where: str = "") -> None:
    """Check that every key of ``changes`` exists in ``config``.

    Args:
        changes: nested mapping of the keys to set.
        config: nested mapping of the existing keys; any key may be set below a null one.
        where: file to name in the message.

    Raises:
        InputError: a key does not exist, or a section would become a single value.
    """
    for key, problem in _problems(changes, config):
        prefix = f"{where}: " if where else ""
        if problem == "unknown":
            raise InputError(f"{prefix}unknown key {key}{_allowed(key, config)}")
        raise InputError(f"{prefix}{key} is a section, not a value{_allowed(f'{key}.', config)}")


def dotted_keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every key of a nested mapping, with sections: ``train``, ``train.optim``, …."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")


def _problems(
    changes: Mapping[str, Any], config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    for name, value in changes.items():
        key, known = f"{prefix}{name}", config.get(name)
        if name not in config:
            yield key, "unknown"
        elif isinstance(value, Mapping) and isinstance(known, Mapping) and known:
            yield from _problems(value, known, f"{key}.")
        elif isinstance(value, Mapping) and value and known not in (None, {}):
            yield f"{key}.{next(iter(value))}", "unknown"
        elif isinstance(known, Mapping) and known and value is not None:
            yield key, "section"


def _allowed(key: str, config: Mapping[str, Any]) -> str:
    """Return the hint for an unknown ``key``: the most similar keys, or all of its section.

    A key with the same last part is preferred: people often forget the section of a setting.
    """
    section, _, leaf = key.rpartition(".")
    keys = list(dotted_keys(config))
    siblings = [known for known in keys if known.rpartition(".")[0] == section]
    near = [known for known in keys if known.rpartition(".")[2] == leaf]
    if leaf and not near:
        names = [known.rpartition(".")[2] for known in siblings]
        prefix = f"{section}." if section else ""
        near = [prefix + name for name in nearest(leaf, names)] if siblings else nearest(key, keys)
    if near:
        return f"; did you mean {' or '.join(near[:3])}?"
    shown = [known.rpartition(".")[2] for known in siblings if not known.endswith("_target_")]
    if section and not shown:
        return f"; {section} has no keys" if section in keys else ""
    return f"; {section or 'the recipe'} has {', '.join(shown)}"


RECIPE_SUFFIX = ".yaml"
RUN_CONFIG = "config.yaml"
"""The resolved config in a run folder."""
RECIPE_KEYS = ("name", "seed", "splits", "init", "plugins")
"""Keys that a recipe may set beside the config groups, with any keys below them."""


def is_override(word: str) -> bool:
    """Return whether ``word`` sets a key of recipes, like ``reuse=probs`` or ``seeds=3``."""
    key, equals, _ = word.partition("=")
    section = key.lstrip("+~").partition(".")[0]
    return bool(equals) and (
        section in (*RECIPE_KEYS, "seeds") or (locate_configs() / section).is_dir()
    )


def is_recipe(word: str) -> bool:
    """Return whether ``word`` looks like the name of a recipe."""
    return "=" not in word and word.endswith(RECIPE_SUFFIX)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file: what it ``picks`` from each config group, and its own keys as ``body``.

    The config of a run is ``resolved``: ``body`` holds all of it, and ``picks`` names its groups,
    for which an override may pick another config.
    """

    path: Path
    picks: Mapping[str, str | list[str]]
    body: Mapping[str, Any]
    resolved: bool = False


def read_recipe(path: Path) -> Recipe:
    """Read the recipe at ``path``, or the config of the run in the folder ``path``.

    Raises:
        InputError: there is no such file, it is not YAML, or its ``defaults`` list is missing or
            malformed.
    """
    if (path / RUN_CONFIG).is_file():
        path = path / RUN_CONFIG
    path = find_recipe(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a recipe; {_recipes_in(path)}")
    if not path.is_file():
        raise InputError(f"no recipe {path}{_near(path)}")
    if path.suffix != RECIPE_SUFFIX:
        raise InputError(f"{path} is not a recipe: its name must end in .yaml")
    content = _load(path, "a recipe")
    if isinstance(content, dict) and "defaults" not in content and _is_resolved(content):
        body = {str(key): value for key, value in content.items()}
        groups = [key for key in body if (locate_configs() / key).is_dir()]
        return Recipe(path.resolve(), dict.fromkeys(groups, ""), body, resolved=True)
    defaults = content.get("defaults") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(defaults, list):
        raise InputError(
            f"{path} is not a recipe: it needs a `defaults` list of config groups (a recipe), or "
            f"the sections of a run's {RUN_CONFIG}"
        )
    body = {str(key): value for key, value in content.items() if key != "defaults"}
    return Recipe(path.resolve(), _picks(defaults, path), body)


def recipe_name(path: Path, config: Mapping[str, Any]) -> str:
    """Return the folder name for runs of the recipe at ``path``: its stem.

    For the config of a run it is the ``name`` of its recipe.
    """
    if path.name != RUN_CONFIG and not path.is_dir():
        return path.stem
    name = re.sub(r"[^\w.-]+", "-", str(config.get("name") or "")).strip("-.")
    return name or path.absolute().parent.name


def read_group_file(group: str, path: Path) -> dict[str, Any]:
    """Read the config in ``path``, to use instead of one of the config group ``group``.

    Raises:
        InputError: there is no such file, or it is not the config of a class (``_target_``).
    """
    if not path.is_file():
        raise InputError(f"{group}={path}: no such file{_near(path)}")
    content = _load(path, f"a {group} config")
    if not isinstance(content, dict) or not isinstance(content.get("_target_"), str):
        raise InputError(
            f"{group}={path}: not a {group} config, which sets _target_ and the keys of its class"
        )
    return {str(key): value for key, value in content.items()}


def _load(path: Path, what: str) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except yaml.YAMLError as error:
        raise InputError(yaml_message(error, path)) from error
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is not {what}: it is not a readable text file") from error


def _is_resolved(content: Mapping[Any, Any]) -> bool:
    """Return whether it is the config of a run, which has classes instead of choices."""
    model = content.get("lm") or content.get("reuse")
    is_built = isinstance(model, dict) and "_target_" in model
    return is_built and ("encoder" in content or "lm" in content)


def find_recipe(path: Path) -> Path:
    """Return ``path`` if it exists, or else the project's recipe of this name.

    Names are, for example, ``quickstart`` and ``recipes/quickstart.yaml``. A name without a folder
    is also searched in the subfolders of recipes.
    """
    if path.is_absolute() or path.is_file():
        return path
    parts = path.parts[1:] if path.parts[:1] == ("recipes",) else path.parts
    if not parts:
        return path
    ours = locate_recipes().joinpath(*parts).with_suffix(".yaml")
    nested = sorted(locate_recipes().rglob(ours.name)) if len(parts) == 1 else []
    return next((one for one in [ours, *nested] if one.is_file()), path)


def yaml_message(error: yaml.YAMLError, path: Path | None = None) -> str:
    """Describe a YAML syntax error in one line: file, line and the parser's message."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not valid YAML"
    file = path or (Path(mark.name) if mark else "YAML")
    return f"{file}:{mark.line + 1}: {problem}" if mark else f"{file}: {problem}"


def _picks(defaults: list[Any], path: Path) -> dict[str, str | list[str]]:
    """Return the entries of a ``defaults`` list by group."""
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
    """Return the hint for a missing recipe: similar files and recipes."""
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    pattern = "*.yaml"
    if folder == Path() and not path.suffix:
        folder, pattern = locate_recipes(), "**/*.yaml"
    files = {file.stem: str(file) for file in sorted(folder.glob(pattern))}
    near = [files[stem] for stem in nearest(path.stem, files)]
    return f"; did you mean {' or '.join(near)}?" if near else f"; {_recipes_in(folder)}"


def _recipes_in(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.glob("*.yaml"))
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"{folder} has {listed}" if names else f"{folder} has no .yaml files"


def lookup(config: Mapping[str, Any], dotted: str) -> Any:
    """Return the value at ``a.b.c``, or None."""
    value: Any = config
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def check_keys_for(what: str, keys: Sequence[str], config: Mapping[str, Any], recipe: Path) -> None:
    """Raise InputError unless all ``keys`` are set."""
    missing = [key for key in keys if lookup(config, key) is None]
    if missing:
        raise InputError(
            f"{recipe}: no {missing[0]}; a recipe to {what} sets or picks {', '.join(keys)}"
        )
