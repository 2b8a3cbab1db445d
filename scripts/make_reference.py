"""Writes docs/config.md from configs/ and the classes it names, docs/commands.md from the parsers.

python scripts/make_reference.py          writes both
python scripts/make_reference.py --check  exits with 1 if one of them is not current
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from asr.cli.config import ConfigFile, argument_types, config_files
from asr.cli.main import VERBS, build_parser

DOCS = Path(__file__).parents[1] / "docs"
MADE_BY = "Made by `python scripts/make_reference.py`; a test keeps it current."


def config_reference() -> str:
    lines = [
        "# Config reference",
        "",
        f"Every file of `configs/`, with defaults, types and meanings. {MADE_BY}",
        "",
        "A recipe picks files in its `defaults` list and changes single keys below it;",
        "`asr config RECIPE.yaml` prints what comes out. Groups with several parts",
        "(`features: [fbank, normalize]`) put each part under its own key; of the other groups",
        "one file is picked.",
    ]
    for group, files in groupby(config_files(), key=lambda file: file.group):
        lines += ["", f"## {group}"]
        for file in files:
            lines += ["", *file_section(file)]
    return "\n".join(lines) + "\n"


def file_section(file: ConfigFile) -> Iterator[str]:
    prefix = f"{file.group}.{file.part}" if file.part else file.group
    yield f"### `{file.group}: {file.name}`"
    yield ""
    yield f"`{file.target}`. {file.summary}"
    types = argument_types(file.target)
    if file.keys:
        yield ""
        yield "| key | default | type | meaning |"
        yield "| :--- | :--- | :--- | :--- |"
    for key in file.keys:
        cells = (f"`{prefix}.{key.name}`", f"`{key.default}`", types.get(key.name, ""), key.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def command_reference() -> str:
    lines = [
        "# Command reference",
        "",
        f"Every command with its arguments and options. {MADE_BY}",
    ]
    for verb in VERBS:
        lines += ["", *command_section(build_parser(verb), f"asr {verb}", "##")]
    return "\n".join(lines) + "\n"


def command_section(parser: argparse.ArgumentParser, name: str, level: str) -> Iterator[str]:
    yield f"{level} `{name}`"
    yield ""
    yield " ".join((parser.description or "").split())
    nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    rows = [a for a in parser._actions if a not in nested and a.dest != "help"]
    if rows:
        yield ""
        yield "| argument | meaning |"
        yield "| :--- | :--- |"
    for action in rows:
        meaning = " ".join(help_text(action).split()).replace("|", "\\|")
        argument = spelling(action).replace("|", "\\|")
        yield f"| `{argument}` | {meaning} |".replace("|  |", "| |")
    for action in nested:
        for word, child in action.choices.items():
            yield ""
            yield from command_section(child, f"{name} {word}", level + "#")


def help_text(action: argparse.Action) -> str:
    default = "as many as there are cores" if action.dest == "jobs" else action.default
    return (action.help or "") % {**vars(action), "default": default, "prog": "asr"}


def spelling(action: argparse.Action) -> str:
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
    value = action.metavar or choices or action.dest.upper()
    value = value if isinstance(value, str) else " ".join(value)
    several = {"*": f"[{value} …]", "+": f"{value} [{value} …]", "?": f"[{value}]"}
    shown = several.get(str(action.nargs), value)
    if not action.option_strings:
        return shown
    words = ", ".join(action.option_strings)
    return words if action.nargs == 0 else f"{words} {shown}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    pages = {"config.md": config_reference(), "commands.md": command_reference()}
    stale = [name for name, text in pages.items() if read(DOCS / name) != text]
    if check:
        for name in stale:
            print(f"docs/{name} is not current: python scripts/make_reference.py", file=sys.stderr)
        return int(bool(stale))
    DOCS.mkdir(exist_ok=True)
    for name in stale:
        (DOCS / name).write_text(pages[name], encoding="utf-8")
    return 0


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
