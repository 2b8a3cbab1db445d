"""`asr config`: the resolved config of a recipe, with types, comments and optional keys."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import yaml

import asr
from asr.cli.compose import compose_recipe
from asr.cli.recipe import locate_configs, read_recipe
from asr.ranges import Range, range_of

_TARGET = "_target_"
_COMMENT_COLUMN = 44
_KEY_LINE = re.compile(r"^( *)([\w]+):([^#]*)(?:#\s*(.*))?$")


@dataclass(frozen=True)
class ConfigKey:
    """A key of a config file: its default as YAML text, and its meaning."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class ConfigFile:
    """A file of ``configs``; ``part`` is its key inside the group, empty if the group has none."""

    group: str
    name: str
    part: str
    target: str
    summary: str
    keys: tuple[ConfigKey, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: recipe and overrides."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, as for `asr train`")
    parser.add_argument(
        "--plain", action="store_true", help="only values, without meanings and types"
    )


def run(args: argparse.Namespace) -> int:
    """Print the resolved config as YAML, which is a valid config itself."""
    config = compose_recipe(args.recipe, args.overrides)
    if args.plain:
        yaml.safe_dump(config, sys.stdout, sort_keys=False, allow_unicode=True)
        return 0
    for line in annotated(config):
        print(line)
    picks = read_recipe(args.recipe).picks
    addable = list(could_be_added(config, picks))
    if addable:
        print("\n# Could be added:")
        for line in addable:
            print(f"#   {line}")
    return 0


def annotated(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of ``config`` as YAML, with each key's meaning and type as a comment."""
    known = {file.target: file for file in reversed(config_files())}
    yield from _section(config, "", known)


def could_be_added(config: Mapping[str, Any], picks: Mapping[str, Any]) -> Iterator[str]:
    """Yield the other choices of each group of the recipe, and parts that were not picked."""
    for group in picks:
        files = [file for file in config_files() if file.group == group]
        section = config.get(group)
        there = section if isinstance(section, Mapping) else {}
        if any(not file.part for file in files):
            others = [file.name for file in files if file.target != there.get(_TARGET)]
            if others:
                yield f"{group}={'|'.join(others)}"
            continue
        present = [name for name in there if name != _TARGET]
        for file in files:
            if file.part not in there:
                yield f"{group}=[{','.join([*present, file.name])}]: {file.summary}"


@cache
def config_files() -> tuple[ConfigFile, ...]:
    """Read all files of ``configs``, by group and name, without importing their classes."""
    return tuple(read_config_file(path) for path in sorted(locate_configs().glob("*/*.yaml")))


def read_config_file(path: Path) -> ConfigFile:
    """Read one file of ``configs``: its defaults, its comments, and the docstring of its class."""
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    part = "" if _TARGET in content else next(iter(content))
    section = content[part] if part else content
    comments = comments_of(text, depth=2 if part else 0)
    keys = tuple(
        ConfigKey(key, yaml_text(value), comments.get(key, ""))
        for key, value in section.items()
        if key != _TARGET
    )
    return ConfigFile(
        path.parent.name, path.stem, part, section[_TARGET], summary_of(section[_TARGET]), keys
    )


def summary_of(target: str) -> str:
    """Return the first paragraph of a class's docstring, read from its source."""
    module, _, name = target.rpartition(".")
    source = Path(asr.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    return ""


def comments_of(text: str, depth: int) -> dict[str, str]:
    """Return the comment after each key that is indented by ``depth`` spaces."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _KEY_LINE.match(line)
        if match and len(match[1]) == depth and match[4]:
            found[match[2]] = match[4].strip()
    return found


def argument_types(target: str) -> dict[str, str]:
    """Describe the type of each argument of a class in config terms: ``fp32 | bf16``, ``int``."""
    module, _, name = target.rpartition(".")
    cls = getattr(import_module(module), name)
    hints = get_type_hints(cls.__init__, include_extras=True)
    return {
        name: type_text(hints[name]) for name in inspect.signature(cls).parameters if name in hints
    }


def type_text(hint: Any) -> str:
    """Describe an annotation in config terms: ``list of int``, ``float, from 0 to 1``."""
    ranges = dict.fromkeys(map(str, ranges_in(hint)))
    return ", ".join([_kind_text(hint), *([" or ".join(ranges)] if ranges else [])])


def ranges_in(hint: Any) -> Iterator[Range]:
    """Yield the ranges of the numbers in an annotation."""
    if get_origin(hint) is Annotated:
        yield range_of(hint)
    else:
        for part in get_args(hint):
            yield from ranges_in(part)


def _kind_text(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind_text(parts[0])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if hint is type(None):
        return "null"
    if origin is not None and parts and getattr(origin, "__module__", "") == "collections.abc":
        return f"list of {_kind_text(parts[0])}"
    if origin in (list, tuple):
        return f"list of {_kind_text(parts[0])}"
    if parts:
        return " | ".join(dict.fromkeys(_kind_text(part) for part in parts))
    return {"str": "text", "bool": "true | false"}.get(name := getattr(hint, "__name__", ""), name)


def yaml_text(value: Any) -> str:
    """Format a value as one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _section(
    section: Mapping[str, Any], indent: str, known: Mapping[str, ConfigFile]
) -> Iterator[str]:
    file = known.get(str(section.get(_TARGET)))
    meanings = {key.name: key.meaning for key in file.keys} if file else {}
    types = argument_types(file.target) if file else {}
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _section(value, f"{indent}  ", known)
            continue
        line = f"{indent}{name}: {yaml_text(value)}"
        notes = "; ".join(note for note in (meanings.get(name), types.get(name)) if note)
        yield f"{line:<{_COMMENT_COLUMN}}  # {notes}" if notes else line
