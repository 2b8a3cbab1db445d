"""Mutations of files: text and manifests, audio, model packages, and any bytes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PACKAGE_FILES = ("config.json", "tokenizer.model", "model.safetensors")

_JSON_VALUES = (
    *("null", "true", "-1", "1e999", "NaN", "-Infinity", "9" * 5000, '"1.5"', '""', "[]", "{}"),
    *('"\\ud800"', '"\\u0000"', '"a\\nb"', "[" * 3000, '"' + "x" * 300 + '"', "1e15", "0"),
)
_TEXT_PIECES = (
    *(b"\0", b"\n", b"\t", b"\r", b"\xff", b'"', b"\\", b"{", b"]"),
    *("\N{LINE SEPARATOR}".encode(), b"9" * 5000),
)


def mutated_text(data: bytes, generator: random.Random) -> bytes:
    """``data`` with a value of JSON replaced, or bytes put in, taken out, repeated or cut off."""
    kind = generator.randrange(5)
    start = generator.randrange(len(data))
    stop = min(len(data), start + generator.randrange(1, 30))
    if kind == 0 and b":" in data:
        start = data.find(b":", start) % len(data) + 1
        stop = min(data.find(end, start) % (len(data) + 1) for end in (b",", b"}"))
        return data[:start] + generator.choice(_JSON_VALUES).encode() + data[stop:]
    if kind == 1:
        return data[:start] + generator.choice(_TEXT_PIECES) + data[start:]
    if kind == 2:
        return data[:start] + data[stop:]
    if kind == 3:
        return data[:start] + data[start:stop] * 50 + data[stop:]
    return data[:start]


def mutated_audio(data: bytes, generator: random.Random) -> bytes:
    """The file cut, with other bytes, with bytes missing, or with more of them."""
    head = min(len(data), generator.choice((64, 200, len(data))))
    at = generator.randrange(head)
    kind = generator.randrange(6)
    if kind == 0:
        return data[: generator.randrange(len(data))]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]
    if kind == 2:
        size = generator.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
        return data[:at] + size + data[at + 4 :]
    if kind == 3:
        return data[:at] + generator.randbytes(generator.choice((0, 3000))) + data[at + 1000 :]
    if kind == 4:
        return data[:at] + bytes(5000) + data[at + 5000 :]
    return data + data[at:] + generator.randbytes(generator.choice((0, 5000)))


def mutated_bytes(data: bytes, generator: random.Random, *, head: int | None = None) -> bytes:
    """Other bytes at some places of the first ``head``, and sometimes the end cut off."""
    changed = bytearray(data)
    for _ in range(generator.choice([1, 8, 64])):
        changed[generator.randrange(min(len(data), head or len(data)))] = generator.randrange(256)
    return bytes(
        changed[: generator.choice([len(data), len(data), generator.randrange(len(data))])]
    )


def mutate_package(folder: Path, generator: random.Random) -> None:
    """Damages the bytes of a file of the package, or a number of its config."""
    if generator.random() < 0.5:
        config = json.loads((folder / "config.json").read_text())
        *outer, leaf = generator.choice(list(numbers(config))).split(".")
        section = config
        for name in outer:
            section = section[name]
        values: list[Any] = [0, -1, 3, 10**5, 10**12, 0.5, 1e300, None, "9", [1], {}, math.nan]
        section[leaf] = generator.choice(values)
        (folder / "config.json").write_text(json.dumps(config))
        return
    path = folder / generator.choice(PACKAGE_FILES)
    path.write_bytes(mutated_bytes(path.read_bytes(), generator, head=4096))


def numbers(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys whose values are numbers."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}"
