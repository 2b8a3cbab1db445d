"""The import order and the owners of dependencies, as pyproject.toml states them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from .tree import REPO

LINT = (
    "from importlinter.cli import lint_imports\n"
    "raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
)


def contracts() -> list[dict[str, Any]]:
    pyproject = tomllib.loads((REPO / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = pyproject["tool"]["importlinter"]["contracts"]
    return found


def owners() -> list[dict[str, Any]]:
    return [contract for contract in contracts() if contract["type"] == "forbidden"]


def packages() -> set[str]:
    entries = (REPO / "asr").iterdir()
    return {entry.stem for entry in entries if not entry.stem.startswith("_")} - {"configs"}


def test_every_import_keeps_the_contracts() -> None:
    lint = subprocess.run([sys.executable, "-c", LINT], cwd=REPO, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert f"Contracts: {len(contracts())} kept, 0 broken." in lint.stdout


def test_the_layers_are_all_the_packages() -> None:
    (layers,) = (contract["layers"] for contract in contracts() if contract["type"] == "layers")
    assert {name.strip() for layer in layers for name in layer.split("|")} == packages()


@pytest.mark.parametrize("contract", owners(), ids=lambda contract: contract["name"])
def test_a_dependency_is_forbidden_to_all_but_its_owner(contract: dict[str, Any]) -> None:
    names, _, owner = contract["name"].partition(" only in ")
    assert contract["forbidden_modules"] == names.split(" and ")
    assert set(contract["source_modules"]) == {
        f"asr.{name}" for name in packages() - {*owner.split(" and ")}
    }
    assert contract["allow_indirect_imports"] is True


def test_the_owners_are_those_of_the_design() -> None:
    owned = {contract["name"].partition(" only in ")[2] for contract in owners()}
    assert owned >= {"cli", "train", "data", "metrics", "text", "audio", "features and head"}


def test_triton_stays_among_the_kernels() -> None:
    """PyTorch for CPUs alone lacks it: every other module of nn must do without."""
    importing = {
        path.parent.name
        for path in (REPO / "asr" / "nn").rglob("*.py")
        if re.search(r"^\s*(import|from) triton", path.read_text(), re.MULTILINE)
    }
    assert importing == {"kernels"}
