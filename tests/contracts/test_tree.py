"""Names, sizes and places of files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .tree import REPO, project_files, relative

MAX_NUM_LINES = 350
TOP = {
    "asr", "configs", "data", "recipes", "scripts", "tests", ".ci", ".gitignore",
    ".pre-commit-config.yaml", ".yamllint.yaml", "CHANGELOG.md", "LICENSE", "README.md",
    "constraints.txt", "pyproject.toml", "docs", "Dockerfile", ".dockerignore",
}  # fmt: skip
KINDS_OF_TESTS = {
    "scripts",
    "contracts",
    "equivalence",
    "parity",
    "golden",
    "known_issues",
    "training",
}

# Joined here so that this file does not hold what it forbids.
MACHINE_PATH = re.compile(
    r"(?<![\w.~$})/-])/(?:"
    + "|".join(["home", "root", "Users", "work", "opt", "mnt", "tmp"])
    + r")/\w"
)
REGISTRY = re.compile(
    "|".join(
        ["pypi" + r"\.", "python" + "hosted", "index" + "-url", "find" + "-links", "local" + "host"]
    )
    + r"|\b(?!127\.)(?:\d{1,3}\.){3}\d{1,3}:\d"  # that of this machine says nothing
)


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_the_top_level_is_that_of_the_design() -> None:
    names = {path.relative_to(REPO).parts[0] for path in project_files()}
    assert names <= TOP
    assert len(project_files()) > 50


def test_a_module_is_small_and_says_what_it_is() -> None:
    modules = sorted((REPO / "asr").rglob("*.py"))
    sizes = {relative(path): len(path.read_text().splitlines()) for path in modules}
    assert len(sizes) > 100
    assert {name: size for name, size in sizes.items() if size > MAX_NUM_LINES} == {}
    assert {path.stem for path in modules} & {"util", "utils", "helpers", "common", "misc"} == set()


def test_a_package_has_an_init() -> None:
    folders = {path.parent for path in (REPO / "asr").rglob("*.py")}
    assert len(folders) >= 15
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_tests_mirror_packages() -> None:
    modules = sorted((REPO / "tests").rglob("test_*.py"))
    assert len(modules) > 10
    for module in modules:
        folder = module.parent.relative_to(REPO / "tests")
        assert (module.parent / "__init__.py").is_file(), relative(module)
        if not folder.parts:  # a module that stands beside the packages
            assert (REPO / "asr" / module.name.removeprefix("test_")).is_file(), relative(module)
            continue
        package = REPO / "asr" / folder
        assert folder.parts[0] in KINDS_OF_TESTS or package.is_dir(), relative(module)


def test_no_file_names_a_machine() -> None:
    for path in project_files():
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            where = f"{relative(path)}:{number}: {line.strip()}"
            assert not MACHINE_PATH.search(line), where
            assert not REGISTRY.search(line), where


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("cache = '/" + "home/ann/x'", True),
        ("see /" + "tmp/x", True),
        ("runs/" + "tmp/x and ../work/x", False),
        ("pip install --extra-index" + "-url x", True),
        ("version 1.2.3", False),
    ],
)
def test_the_patterns_find_what_they_should(line: str, bad: bool) -> None:
    assert bool(MACHINE_PATH.search(line) or REGISTRY.search(line)) is bad


def test_constraints_are_versions_and_nothing_else() -> None:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.!]*", pin) for pin in pins), pins
    assert {"torch==2.11.0", "torchaudio==2.11.0"} <= set(pins)


def test_scripts_can_be_run() -> None:
    scripts = [*(REPO / "scripts").glob("*.sh"), REPO / ".ci" / "run"]
    assert len(scripts) >= 4
    for script in scripts:
        assert script.stat().st_mode & 0o111, relative(script)
        assert "set -euo pipefail" in script.read_text(), relative(script)
