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
    """argparse with four habits: options are never abbreviated (a typing error is not a guess),
    overrides may stand before and after options, an option of several values does not take the
    overrides behind it for values, and a mistyped option gets a suggestion.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self._ends: dict[str, Callable[[str], bool]] = {}

    def add_list(self, option: str, *, ends: Callable[[str], bool], **kwargs: Any) -> None:
        """An option of one or more words, up to the next option or the first word that ``ends``
        says is none of its own. It may be given several times; its value is a list.
        """
        self._ends[option] = ends
        self.add_argument(option, action="extend", nargs=1, default=[], **kwargs)

    def add_optional_value(
        self, option: str, *, ends: Callable[[str], bool], **kwargs: Any
    ) -> None:
        """An option with or without a word: None when it is absent, "" when it stands alone.

        The word behind it is its own unless ``ends`` says otherwise.
        """
        self._ends[option] = ends
        self.add_argument(option, nargs="?", const="", **kwargs)

    def parse_args(  # type: ignore[override]  # argparse declares overloads for its namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """The parsed arguments; exits with code 2 and one line on stderr when they are wrong."""
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
        """``args`` with each value of an option in ``_ends`` as ``--option=value``.

        Written so, argparse can take neither the value nor the word behind it for anything else.
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
        """What argparse asks of every word: None says that it is no option."""
        if isinstance(arg_string, _NoOption):
            return None
        return super()._parse_optional(arg_string)

    def error(self, message: str) -> NoReturn:
        """Prints ``message`` in one line and exits with code 2."""
        self.exit(2, f"{self.prog}: error: {printable(message)} (see `{self.prog} --help`)\n")


class _NoOption(str):
    """A word behind ``--``, whatever it begins with."""

    __slots__ = ()


def command_text(words: Sequence[str | os.PathLike[str]]) -> str:
    """``words`` as one line for a POSIX shell, each quoted where it has to be.

    Control characters, and bytes that are no text (as Python keeps those of odd file names), are
    written in bash's ``$'…'``, so that the line stays one line and can be printed anywhere.
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


_LIKE = 0.6  # similarity from which a word is worth a mention
_TIE = 0.06  # candidates this close to the best are mentioned beside it


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``"; did you mean a or b?"`` for the candidates nearest to ``word``, or an empty string."""
    near = nearest(word, candidates)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def nearest(word: str, candidates: Iterable[str]) -> list[str]:
    """Up to three candidates that look like ``word``, the likest first."""
    likeness = {
        candidate: SequenceMatcher(None, word.lower(), candidate.lower()).ratio()
        for candidate in candidates
    }
    bar = max(_LIKE, max(likeness.values(), default=0.0) - _TIE)
    near = [candidate for candidate in likeness if likeness[candidate] >= bar]
    return sorted(near, key=lambda candidate: -likeness[candidate])[:3]
