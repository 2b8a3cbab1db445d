"""The parser of every command, suggestions for mistyped words, and command lines as text."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NoReturn

from asr.errors import printable


class Parser(argparse.ArgumentParser):
    """An argparse parser with four changes.

    Options cannot be abbreviated, overrides may be before and after options, an option with several
    values does not swallow the overrides after it, and a mistyped option gets a suggestion.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self._ends: dict[str, Callable[[str], bool]] = {}

    def add_list(self, option: str, *, ends: Callable[[str], bool], **kwargs: Any) -> None:
        """Add an option of one or more words; its value is a list.

        Its words end at the next option or the first word for which ``ends`` is True. The option
        may be repeated.
        """
        self._ends[option] = ends
        self.add_argument(option, action="extend", nargs=1, default=[], **kwargs)

    def add_optional_value(
        self, option: str, *, ends: Callable[[str], bool], **kwargs: Any
    ) -> None:
        """Add an option with an optional word: None if absent, "" without a word.

        The word after it belongs to it unless ``ends`` is True for that word.
        """
        self._ends[option] = ends
        self.add_argument(option, nargs="?", const="", **kwargs)

    def parse_args(  # type: ignore[override]  # argparse declares overloads for its namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse arguments; exit with code 2 and one line on stderr if they are wrong."""
        nested = any(action.nargs == argparse.PARSER for action in self._actions)
        parse = self.parse_known_args if nested else self.parse_known_intermixed_args
        words = list(sys.argv[1:] if args is None else args)
        if "--" in words:
            end = words.index("--")
            words[end:] = map(_NoOption, words[end + 1 :])
        parsed, unknown = parse(list(self._assigned(words)), namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            word = unknown[0].partition("=")[0]
            self.error(f"unknown argument {word}{did_you_mean(word, options)}")
        return parsed

    def _assigned(self, args: Sequence[str]) -> Iterator[str]:
        """Yield ``args`` with each value of an option in ``_ends`` as ``--option=value``.

        In this form argparse cannot mistake the value or the next word for something else.
        """
        words = list(args)
        while words:
            word = words.pop(0)
            if word not in self._ends or isinstance(word, _NoOption):
                yield word
                continue
            is_list = self._option_string_actions[word].nargs == 1
            values: list[str] = []
            while words and not (
                words[0].startswith("-")
                or isinstance(words[0], _NoOption)
                or self._ends[word](words[0])
            ):
                values.append(words.pop(0))
                if not is_list:
                    break
            if is_list and not values:
                self.error(f"argument {word}: expected one or more values")
            yield from (f"{word}={value}" for value in values or [""])

    def _parse_optional(self, arg_string: str) -> Any:
        """Tell argparse whether a word is an option; None if it is not."""
        if isinstance(arg_string, _NoOption):
            return None
        return super()._parse_optional(arg_string)

    def error(self, message: str) -> NoReturn:
        """Print ``message`` in one line and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {printable(message)} (see `{self.prog} --help`)\n")


class _NoOption(str):
    """A word after ``--``, which is never an option."""

    __slots__ = ()


def command_text(words: Sequence[str | os.PathLike[str]]) -> str:
    """Join ``words`` to one line for a POSIX shell, with quotes where needed.

    Control characters, and bytes that are not text (which Python keeps in file names), are written
    in bash's ``$'…'``, so that the result is one printable line.
    """
    return " ".join(_quoted(os.fspath(word)) for word in words)


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    characters = (
        _escaped(character) if not character.isprintable() or character in "\\'" else character
        for character in word
    )
    return f"$'{''.join(characters)}'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


_LIKE = 0.6  # least similarity of a suggestion
_TIE = 0.06  # candidates this close to the best are suggested too


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Suggest the candidates nearest to ``word``, as ``"; did you mean a or b?"``, or nothing."""
    near = nearest(word, candidates)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def nearest(word: str, candidates: Iterable[str]) -> list[str]:
    """Return up to three candidates similar to ``word``, the most similar first."""
    likeness = {
        candidate: SequenceMatcher(None, word.lower(), candidate.lower()).ratio()
        for candidate in candidates
    }
    bar = max(_LIKE, max(likeness.values(), default=0.0) - _TIE)
    near = [candidate for candidate in likeness if likeness[candidate] >= bar]
    return sorted(near, key=lambda candidate: -likeness[candidate])[:3]
