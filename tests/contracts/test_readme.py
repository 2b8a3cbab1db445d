"""Every command that the README, the guides and the recipes show can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from asr.cli.compose import compose_recipe, expand_sweep
from asr.cli.main import MODULES, VERBS, build_parser

from .tree import REPO, recipe_files, relative

README = REPO / "README.md"
RESULTS = REPO / "recipes" / "RESULTS.md"
SILENT = {"architecture", "config", "commands", "python"}
"""Guides without commands to type."""
PLACEHOLDER = re.compile(r"^[A-Z_]{2,}\.yaml$|(^|/)my[_-]")  # RECIPE.yaml, my_recipe.yaml
ASSIGNMENT = re.compile(r"^[A-Z_]+=")


def documents() -> list[Path]:
    guides = [path for path in sorted((REPO / "docs").glob("*.md")) if path.stem not in SILENT]
    return [README, RESULTS, *guides, *recipe_files()]


def code_of(path: Path) -> Iterator[str]:
    """Fenced blocks and inline code of Markdown; the comments of a recipe."""
    text = path.read_text()
    if path.suffix == ".md":
        yield from re.findall(r"^```\w*\n(.*?)^```", text, flags=re.M | re.S)
        yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    else:
        comments = [line[1:] for line in text.splitlines() if line.startswith("#")]
        yield "\n".join(comments)


def commands_in(path: Path) -> list[list[str]]:
    """The words of every `asr …` and `bash scripts/…` command that ``path`` shows."""
    found = []
    for code in code_of(path):
        joined = re.sub(r"\\\n\s*", " ", code)
        for line in joined.splitlines():
            if not re.match(r"^\s*(\$ )?([A-Z_]+=\S* )*(asr|bash scripts/)", line):
                continue
            for part in re.split(r"\s(?:\||&&|;|>)\s", line):
                words = shlex.split(part.strip().removeprefix("$ "), comments=True)
                while words and ASSIGNMENT.match(words[0]):
                    words = words[1:]
                if (words[:1] == ["asr"] and len(words) > 1) or words[:1] == ["bash"]:
                    found.append(words)
    return found


def check_command(words: list[str]) -> None:
    if words[0] == "bash":
        assert (REPO / words[1]).is_file(), f"no {words[1]}"
        return
    verb, *rest = words[1:]
    if verb.startswith("-"):
        assert verb in {"--help", "-h", "--version"}, verb
        return
    assert verb in VERBS, f"asr has no verb {verb}"
    module = MODULES.get(verb, verb)
    assert find_spec(f"asr.cli.{module}") is not None, f"asr {verb} is not there"
    if not rest or any("…" in word or "..." in word or word.startswith("[") for word in rest):
        return
    if "--help" in rest or "-h" in rest:
        return
    overrides = getattr(build_parser(verb).parse_args(rest), "overrides", [])
    recipes = [REPO / w for w in rest if w.endswith(".yaml") and not PLACEHOLDER.search(w)]
    for recipe in recipes:
        assert recipe.is_file(), f"no recipe {recipe}"
        for combination in every_value_once(expand_sweep(overrides)):
            composes(recipe, combination)


def every_value_once(combinations: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """The combinations that show an override which no earlier one has shown."""
    seen: set[str] = set()
    for combination in combinations:
        if not seen.issuperset(combination) or not combination:
            yield tuple(combination)
        seen.update(combination)


@cache
def composes(recipe: Path, overrides: tuple[str, ...]) -> None:
    """Compose a recipe; what several pages show is composed once."""
    compose_recipe(recipe, overrides)


@pytest.mark.parametrize("path", documents(), ids=relative)
def test_every_command_can_be_typed(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASR_SPEECH_DIR", str(tmp_path))
    commands = commands_in(path)
    assert commands, f"{relative(path)} shows no command"
    for words in commands:
        try:
            check_command(words)
        except SystemExit as error:
            pytest.fail(f"{shlex.join(words)}: exit {error.code}")
        except (AssertionError, ValueError) as error:
            pytest.fail(f"{shlex.join(words)}: {error}")


def test_the_readme_shows_the_two_commands() -> None:
    shown = [shlex.join(words) for words in commands_in(README)]
    assert "bash scripts/quickstart.sh" in shown
    assert "bash scripts/test.sh" in shown


def test_commands_are_found_where_people_write_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Type `asr bench --json -` or\n\n```bash\n# first\n"
        "$ asr train a.yaml \\\n    seed=1  # note\n"
        "X=1 bash scripts/test.sh && asr --version\n```\nand `asrx` or `pip`.\n"
    )
    assert commands_in(page) == [
        ["asr", "train", "a.yaml", "seed=1"],
        ["bash", "scripts/test.sh"],
        ["asr", "--version"],
        ["asr", "bench", "--json", "-"],
    ]
