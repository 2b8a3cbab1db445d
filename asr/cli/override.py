"""Parsing overrides, expanding lists of values into variants, and naming the variants."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from asr.errors import InputError
from asr.ranges import Range, describe, fits

TEXT_KEYS = frozenset({"name", "init", "splits.folder", "splits.train", "splits.dev"})
TEXT_KEYS |= {"text.tokenizer.model", "data.noise.folder", "data.reverb.folder"}
TEXT_KEYS |= {"train.distillation.teacher"}
"""Keys whose value is a name or a path."""
LIST_KEYS = frozenset({"splits.test"})
"""Keys whose value is a name, or several in brackets."""

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides.

    Raises:
        InputError: one is not ``key=value``, or adds (``+``) or removes (``~``) a key.
    """
    return [_parse(line) for line in overrides]


def is_text(key: str) -> bool:
    """Return whether the value of ``key`` is taken literally."""
    return key in TEXT_KEYS or key in LIST_KEYS


def split_values(text: str) -> list[str]:
    """Split at commas outside of quotes and brackets."""
    values, depth, rest = [""], 0, text
    while rest:
        quoted = _QUOTED.match(rest) if values[-1].strip(" [") == "" else None
        part = quoted[0] if quoted else rest[0]
        rest = rest[len(part) :]
        depth += (part == "[") - (part == "]")
        if part == "," and depth <= 0:
            values.append("")
        else:
            values[-1] += part
    return [value.strip() for value in values]


def _parse(line: str) -> Override:
    if line.startswith("+"):
        raise InputError(
            f"{line}: keys cannot be added, only changed (all valid keys exist already); "
            f"write {line.lstrip('+')}"
        )
    if line.startswith("~"):
        raise InputError(f"{line}: keys cannot be removed; write {line[1:].partition('=')[0]}=null")
    key, equals, value = line.partition("=")
    override = None
    try:
        override = OverridesParser.create().parse_override(_in_grammar(line))
    except HydraException as error:
        if equals and re.fullmatch(r"[\w.]+", key):
            spelt = f"{key}={_quote(value)}"
            spelt = shlex.quote(spelt) if re.search(r"[\"$`\\!]", spelt) else f'"{spelt}"'
            raise InputError(
                f"{line!r} is not an override: text with such characters needs its own quotes: "
                f"{spelt}"
            ) from error
    if override is None or not override.key_or_group or override.package is not None:
        raise InputError(
            f"{line!r} is not an override; write key=value, such as encoder=conformer_m or "
            "train.trainer.max_steps=10"
        )
    return override


def _in_grammar(line: str) -> str:
    """Return the override in Hydra's grammar; quote names and paths."""
    key, _, value = line.partition("=")
    value = value.strip()
    if not is_text(key) or value in ("", "null"):
        return line
    if value.startswith("[") and value.endswith("]"):
        if key in TEXT_KEYS:
            return line  # a list instead of one name: reported where it is read
        return f"{key}=[{','.join(map(_quote, filter(None, split_values(value[1:-1]))))}]"
    return f"{key}={_quote(value)}"


def _quote(text: str) -> str:
    """Quote the text for Hydra, and escape interpolations of OmegaConf."""
    if _QUOTED.fullmatch(text):
        return text
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (r"\'" if m[2] else ""), text)
    return f"'{text}'"


def expand(line: str) -> Iterator[str]:
    """Yield an override for each value of ``key=a,b``, if the key is a name or path."""
    key, _, value = line.partition("=")
    if chosen := re.fullmatch(r"choice\((.*)\)", value):
        value = chosen[1]
    for one in split_values(value):
        yield f"{key}={one}"


MAX_RUNS = 10_000
Seeds = Annotated[int, Range(1, 1000)]


def expand_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return a list of overrides for every combination of the given values.

    ``reuse=none,probs`` means two runs, and so does Hydra's ``choice(none,probs)``; commas inside
    brackets or quotes belong to one value. ``seeds=3`` is short for ``seed=0,1,2``. The last
    override varies fastest.

    Raises:
        InputError: an override cannot be parsed, ``seeds`` is not a count, or there are more than
            `MAX_RUNS` combinations.
    """
    parsed = parse_overrides(overrides)
    choices = [_choices(line, override) for line, override in zip(overrides, parsed, strict=True)]
    if math.prod(map(len, choices)) > MAX_RUNS:
        raise InputError(f"{' '.join(overrides)}: allowed: up to {MAX_RUNS:,} combinations")
    return [list(combination) for combination in product(*choices)]


def _choices(line: str, override: Override) -> list[str]:
    key = override.get_key_element()
    if is_text(key):
        return list(expand(line))
    if key == "seeds":
        count: Any = override.value()
        if not fits(count, Seeds):
            raise InputError(
                f"{line}: allowed: {describe(Seeds)}, the number of seeds; for given seeds write "
                "seed=1,2"
            )
        return [f"seed={seed}" for seed in range(count)]
    if override.is_sweep_override():
        values = islice(override.sweep_string_iterator(), MAX_RUNS + 1)
        return [f"{key}={value}" for value in values]
    return [line]


PLAIN = "recipe"
MAX_LENGTH = 60


def variant_names(variants: Sequence[Sequence[str]]) -> list[str]:
    """Return a short name for each list of overrides: the values in which the variants differ.

    ``[["reuse=none", "seed=0"], ["reuse=probs", "seed=0"]]`` gives ``none`` and ``probs``. A single
    variant is named by all its values, or "recipe" if it has none. Equal names are numbered.
    """
    if not variants:
        return []
    varying = [
        index
        for index, override in enumerate(variants[0])
        if len(variants) == 1 or any(variant[index] != override for variant in variants)
    ]
    names = [
        "-".join(short_value(variant[index]) for index in varying) or PLAIN for variant in variants
    ]
    return [
        name if names.count(name) == 1 else f"{name}-{names[: index + 1].count(name)}"
        for index, name in enumerate(names)
    ]


def short_value(override: str) -> str:
    """Return an override's value, after the last part of its key unless it picks a config.

    ``reuse=probs`` is ``probs``; ``reuse.group_size=8`` is ``group_size8``; ``seed=1`` is
    ``seed1``; ``reuse.groups=[4,4]`` is ``groups4-4``. A file is named by its stem, a class by its
    last name. A name too long for a file is cut.
    """
    key, _, value = override.partition("=")
    leaf = key.rpartition(".")[2]
    if value.endswith(".yaml"):
        value = Path(value).stem
    value = re.sub(r"_target_: *(?:\w+\.)*", "", value)
    plain = re.sub(r"[^\w.]+", "-", value)[:MAX_LENGTH].strip("-")
    return plain if "." not in key and not plain.isdigit() else f"{leaf}{plain}"
