"""One name, one meaning: no two modules define a public class, function or constant alike."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from .tree import REPO

ALLOWED = {
    "add_arguments",  # of every verb
    "run",
    "main",
    "logger",  # of every module that logs
    "rounds",  # the iterator of the timer, and the number as an option reads it
}
"""Names that mean the same wherever they are."""


def defined(path: Path) -> set[str]:
    """The public names that a module defines, without type variables."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def test_a_name_is_defined_once() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((REPO / "asr").rglob("*.py")):
        for name in defined(path):
            places[name].append(str(path.relative_to(REPO)))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in ALLOWED} == {}
