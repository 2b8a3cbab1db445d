"""References that allow several readings, as in NIST's scoring.

In a reference ``{YOU'VE / YOU HAVE}`` stands for either reading, and ``{UM / @}`` for the word or
nothing. `Equivalents` adds such marks to plain references, from a file of phrases that count as
equal. The reading with the fewest errors is scored.

Shape legend: a text is a list of slots; a slot has readings of words, usually one of one word.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import InputError, printable
from asr.files import read_bytes

MAX_EQUIVALENTS_BYTES = 16 << 20
MAX_READINGS = 100
_NOTHING = "@"
_MARK = re.compile(r"\{([^{}]*/[^{}]*)\}")
_BORDERS = re.compile(r"^(\[\s*\]\s*)?__(\s*\[\s*\])?$")

Reading = tuple[str, ...]


def has_alternatives(text: str) -> bool:
    """Return whether a text has a mark ``{A / B}``."""
    return "{" in text and _MARK.search(text) is not None


def normalized_readings(text: str, normalize: Callable[[str], str]) -> str:
    """Normalise the text outside its marks, and each reading inside them."""
    if not has_alternatives(text):
        return normalize(text)
    parts = []
    end = 0
    for mark in _MARK.finditer(text):
        parts += [normalize(text[end : mark.start()]), _marked(_readings(mark[1], normalize))]
        end = mark.end()
    return " ".join(part for part in [*parts, normalize(text[end:])] if part)


def best_reading(ref: str, hyp: Sequence[str], *, by_character: bool = False) -> str:
    """Return the reading of ``ref`` with the fewest errors against the words of ``hyp``.

    With ``by_character`` the units of ``hyp`` are characters, for scripts without spaces.
    """
    if not has_alternatives(ref):
        return ref
    costs: list[tuple[int, tuple[Reading, ...]]] = [(place, ()) for place in range(len(hyp) + 1)]
    for slot in _slots(ref):
        ends = []
        for reading in slot:
            units = tuple("".join(reading)) if by_character else reading
            row = [(cost, (*chosen, reading)) for cost, chosen in costs]
            for unit in units:
                row = _with_word(row, unit, hyp)
            ends.append(row)
        costs = [min(column, key=lambda one: one[0]) for column in zip(*ends, strict=True)]
    return " ".join(word for reading in costs[-1][1] for word in reading)


def _with_word(
    row: list[tuple[int, tuple[Reading, ...]]], word: str, hyp: Sequence[str]
) -> list[tuple[int, tuple[Reading, ...]]]:
    """Return the row of the edit distance after one more word of the reference."""
    following = [(row[0][0] + 1, row[0][1])]
    for place, heard in enumerate(hyp, start=1):
        cost, chosen = row[place - 1]
        match = (cost + (heard != word), chosen)
        deleted = (row[place][0] + 1, row[place][1])
        inserted = (following[-1][0] + 1, following[-1][1])
        following.append(min(match, deleted, inserted, key=lambda one: one[0]))
    return following


def _slots(text: str) -> list[list[Reading]]:
    slots: list[list[Reading]] = []
    end = 0
    for mark in _MARK.finditer(text):
        slots += [[(word,)] for word in text[end : mark.start()].split()]
        slots.append([tuple(one.split()) for one in _readings(mark[1], str)])
        end = mark.end()
    return slots + [[(word,)] for word in text[end:].split()]


def _readings(inside: str, normalize: Callable[[str], str]) -> list[str]:
    """Return the distinct readings between braces; an empty one stands for nothing."""
    parts = (part.strip() for part in inside.split("/"))
    found = ("" if part in ("", _NOTHING) else normalize(part) for part in parts)
    return list(dict.fromkeys(found))


def _marked(readings: Sequence[str]) -> str:
    """Return the readings as a mark, or as plain text if there is only one."""
    if len(readings) == 1:
        return readings[0]
    return "{" + " / ".join(one or _NOTHING for one in readings) + "}"


@dataclass(frozen=True, slots=True)
class Equivalents:
    """Phrases that count as equal: ``classes`` maps a phrase to its mark, ``replaced`` to another.

    A phrase is a tuple of normalised words. ``name`` identifies the file and its content.
    """

    name: str
    classes: dict[Reading, str]
    replaced: dict[Reading, str]

    @classmethod
    def read(cls, path: Path, normalize: Callable[[str], str]) -> Equivalents:
        """Read a global mapping file (GLM) of NIST's tools.

        ``A => B`` replaces A in references and hypotheses. ``A => {B / C / @}`` allows any phrase
        in braces, if it occurs in a reference, to be read as any other, and @ as nothing; A is
        replaced by B unless A itself is in the braces. ``;;`` begins a comment, ``*`` and ``"`` a
        heading. The only known context is ``/ [ ] __ [ ]``, borders of words.

        Raises:
            InputError: no such file, not UTF-8, or a line that is not a rule, which the message
                names.
        """
        try:
            text = read_bytes(path, most=MAX_EQUIVALENTS_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
        classes: dict[Reading, str] = {}
        replaced: dict[Reading, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            rule = line.partition(";;")[0].strip()
            if not rule or rule[0] in '*"':
                continue
            phrase, readings = _rule(rule, f"{path}:{number}", normalize)
            if len(readings) > 1:
                mark = _marked(readings)
                classes |= {tuple(one.split()): mark for one in readings if one}
            if phrase not in classes:
                replaced[phrase] = readings[0]
        if not classes and not replaced:
            raise InputError(f"{path}: no rule, A => B or A => {{A / B}} is expected on a line")
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return cls(f"equivalents of {path.name} ({digest})", classes, replaced)

    def in_reference(self, text: str) -> str:
        """Replace and mark the phrases of a reference; existing marks are unchanged."""
        parts = []
        end = 0
        for mark in _MARK.finditer(text):
            parts += [
                self._applied(text[end : mark.start()], self.replaced | self.classes),
                mark[0],
            ]
            end = mark.end()
        parts.append(self._applied(text[end:], self.replaced | self.classes))
        return " ".join(part for part in parts if part)

    def in_hypothesis(self, text: str) -> str:
        """Replace the phrases of a hypothesis."""
        return self._applied(text, self.replaced)

    @staticmethod
    def _applied(text: str, rules: dict[Reading, str]) -> str:
        """Replace every phrase of ``rules``, from the left, the longest first."""
        words, longest = text.split(), max(map(len, rules), default=0)
        found: list[str] = []
        while words:
            for size in range(min(longest, len(words)), 0, -1):
                into = rules.get(tuple(words[:size]))
                if into is not None:
                    found += [into] if into else []
                    del words[:size]
                    break
            else:
                found.append(words.pop(0))
        return " ".join(found)


def _rule(rule: str, where: str, normalize: Callable[[str], str]) -> tuple[Reading, list[str]]:
    """Return the phrase of a rule, and its readings.

    Raises:
        InputError: not a rule, a context of letters, or more than `MAX_READINGS`.
    """
    given, arrow, into = rule.partition("=>")
    inside, brace, behind = into.strip().removeprefix("{").partition("}")
    is_marked = into.strip().startswith("{")
    if is_marked:
        context = behind.strip().removeprefix("/").strip()
    else:
        inside, _, context = into.partition("/")
        context = context.strip()
    phrase = tuple(normalize(given.strip().strip("[]")).split())
    if not arrow or not phrase or (is_marked and not brace):
        raise InputError(
            f"{where}: {printable(rule[:80])!r}: allowed: A => B, or A => {{A / B / @}}"
        )
    if context and not _BORDERS.match(context):
        raise InputError(
            f"{where}: the context {printable(context[:40])!r} is not known; allowed: [ ] __ [ ]"
        )
    readings = (
        _readings(inside, normalize) if is_marked else [normalize(inside.strip().strip("[]"))]
    )
    if len(readings) > MAX_READINGS:
        raise InputError(f"{where}: {len(readings)} readings; allowed: up to {MAX_READINGS}")
    return phrase, readings
