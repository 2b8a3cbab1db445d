"""Overrides as typed on the command line, in Hydra's grammar.

Names and paths (``TEXT_KEYS``) are an exception: they are taken as they stand, for Hydra's grammar
would ask for quotes around ``Müller``, ``a=b`` and ``it's``, and read ``2019`` as a number.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from asr.types import InputError

TEXT_KEYS = frozenset({"name", "init", "splits.folder", "splits.train", "splits.dev"})
TEXT_KEYS |= {"text.tokenizer.model", "data.noise.folder", "data.reverb.folder"}
TEXT_KEYS |= {"train.distillation.teacher"}
"""Keys of one name or path."""
LIST_KEYS = frozenset({"splits.test"})
"""Keys of one name, or of several in brackets."""

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed.

    Raises:
        InputError: one is not ``key=value``, or adds (``+``) or removes (``~``) a key.
    """
    return [_parse(line) for line in overrides]


def is_text(key: str) -> bool:
    """Whether the value of ``key`` is taken as it stands."""
    return key in TEXT_KEYS or key in LIST_KEYS


def split_values(text: str) -> list[str]:
    """The values between commas that stand outside of quotes and brackets."""
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
            f"{line}: keys cannot be added, only changed (every key that is read exists already); "
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
                f"{line!r} is not an override: a text with such characters stands in quotes "
                f"of its own: {spelt}"
            ) from error
    if override is None or not override.key_or_group or override.package is not None:
        raise InputError(
            f"{line!r} is not an override; write key=value, such as encoder=conformer_m or "
            "train.trainer.max_steps=10"
        )
    return override


def _in_grammar(line: str) -> str:
    """The override as Hydra reads it; names and paths get quotes."""
    key, _, value = line.partition("=")
    value = value.strip()
    if not is_text(key) or value in ("", "null"):
        return line
    if value.startswith("[") and value.endswith("]"):
        if key in TEXT_KEYS:
            return line  # a list where one name is expected: whoever reads it says so
        return f"{key}=[{','.join(map(_quote, filter(None, split_values(value[1:-1]))))}]"
    return f"{key}={_quote(value)}"


def _quote(text: str) -> str:
    """The text in quotes that Hydra takes off again, and without meaning to OmegaConf."""
    if _QUOTED.fullmatch(text):
        return text
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + (r"\'" if m[2] else ""), text)
    return f"'{text}'"


def expand(line: str) -> Iterator[str]:
    """The overrides that ``key=a,b`` of a name or path stands for."""
    key, _, value = line.partition("=")
    if chosen := re.fullmatch(r"choice\((.*)\)", value):
        value = chosen[1]
    for one in split_values(value):
        yield f"{key}={one}"
