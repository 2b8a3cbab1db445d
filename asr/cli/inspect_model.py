"""`asr inspect`: print the contents of a model package without building the model."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from asr.interop.hub import local_model
from asr.model.build import TARGET
from asr.model.package import (
    CONFIG,
    FILES,
    GROUPS,
    IMPORTED,
    ORIGIN,
    TOKENIZER,
    WEIGHTS,
    check_files,
    package_folder,
    read_config,
)
from asr.model.plugins import PLUGINS
from asr.model.weights import read_shapes
from asr.text.tokenizer import Tokenizer

_BLOCK_NUM_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: model, output."""
    parser.add_argument(
        "model", type=Path, metavar="DIR", help="model folder, run folder, or hf://owner/name"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the contents."""
    found = contents(package_folder(local_model(args.model)))
    print(json.dumps(found, indent=2) if args.json else "\n".join(lines(found)))
    return 0


def contents(folder: Path) -> dict[str, Any]:
    """Return a package's contents: files with size and SHA-256, weights by part, and settings.

    The model is not built, and no code of the package runs.

    Raises:
        InputError: a file is missing or invalid.
    """
    check_files(folder)
    config = read_config(folder / CONFIG)
    shapes = read_shapes(folder / WEIGHTS)
    parts: dict[str, int] = {}
    for name, shape in shapes.items():
        part = name.partition(".")[0]
        parts[part] = parts.get(part, 0) + prod(shape)
    return {
        "folder": str(folder),
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)}
            for name in FILES
        },
        "weights": {"tensors": len(shapes), "values": sum(parts.values()), "by_part": parts},
        "vocab_size": Tokenizer.load(folder / TOKENIZER).vocab_size,
        "plugins": list(config.get(PLUGINS) or []),
        "origin": {key: config[key] for key in (ORIGIN, IMPORTED) if config.get(key)},
        "config": {group: config[group] for group in GROUPS},
    }


def digest(path: Path) -> str:
    """Return the SHA-256 sum of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_NUM_BYTES):
            total.update(block)
    return total.hexdigest()


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the contents as lines of text."""
    yield found["folder"]
    for name, file in found["files"].items():
        yield f"  {name:18} {file['bytes']:>13,} bytes  sha256 {file['sha256']}"
    weights = found["weights"]
    by_part = ", ".join(f"{part} {num:,}" for part, num in weights["by_part"].items())
    yield f"weights: {weights['values']:,} in {weights['tensors']:,} tensors ({by_part})"
    yield f"vocabulary: {found['vocab_size']:,} tokens"
    if found["plugins"]:
        yield f"needs plugins, whose code runs: {', '.join(found['plugins'])}"
    for key, origin in found["origin"].items():
        yield f"{key.replace('_', ' ')}: {origin if isinstance(origin, str) else settings(origin)}"
    for group, section in found["config"].items():
        for name, part in sections(group, section):
            yield f"{name}: {part.get(TARGET, '')} {settings(part)}".rstrip()


def sections(name: str, section: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a group, or each of its parts, with its name."""
    if not isinstance(section, Mapping):
        return
    if TARGET in section:
        yield name, section
        return
    for key, part in section.items():
        if isinstance(part, Mapping):
            yield from sections(f"{name}.{key}", part)


def settings(section: Any) -> str:
    """Format keys and values of a section in one line."""
    if not isinstance(section, Mapping):
        return str(section)
    return " ".join(f"{key}={json.dumps(value)}" for key, value in section.items() if key != TARGET)
