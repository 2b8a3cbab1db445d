"""Options that commands share: numbers, device and precision, and the parser that reads them."""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NoReturn, get_args

import torch

from asr.cli.recipe import did_you_mean
from asr.decode.recogniser import AcousticModel
from asr.encoder.graphed import GraphedEncoder, check_graphs
from asr.model.asr_model import AsrModel
from asr.ranges import (
    AudioLength,
    BatchDuration,
    Count,
    Range,
    Rounds,
    Seed,
    Share,
    Threads,
    describe,
    fits,
    shown,
)
from asr.types import DTYPES, InputError, printable


def number_in(text: str, hint: Any) -> Any:
    """The number that ``text`` spells; ValueError unless the annotated type ``hint`` allows it."""
    kind = get_args(hint)[0]
    try:
        number = kind(text)
    except ValueError:
        number = None
    if not fits(number, hint):
        raise ValueError(f"{shown(text)}: allowed: {describe(hint)}")
    return number


def _read(hint: Any, text: str) -> Any:
    try:
        return number_in(text, hint)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def level_or_off(text: str) -> float | None:
    """A level in dB of full scale; None for ``off``."""
    if text == "off":
        return None
    try:
        level: float = number_in(text, Annotated[float, Range(-200, 0)])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or off") from None
    return level


utterances = functools.partial(_read, Annotated[int, Range(1, 100_000)])
count = functools.partial(_read, Count)
rounds = functools.partial(_read, Rounds)
threads = functools.partial(_read, Threads)
jobs = functools.partial(_read, Annotated[int, Range(1, 256)])
seed = functools.partial(_read, Seed)
audio_length = functools.partial(_read, AudioLength)
batch_duration = functools.partial(_read, BatchDuration)
overlap = functools.partial(_read, Annotated[float, Range(0, 7200)])
milliseconds = functools.partial(_read, Annotated[float, Range(0, 1e9, above=True)])
share = functools.partial(_read, Share)


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


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """``--device``, the CPU unless told."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def add_dtype_argument(parser: argparse.ArgumentParser) -> None:
    """``--dtype``, float32 unless told."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="what the encoder computes in (default: %(default)s)",
    )


def add_graphs_argument(parser: argparse.ArgumentParser) -> None:
    """``--cuda-graphs``, off unless told."""
    parser.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="record the encoder's kernels and replay them at once, for audio up to a minute; "
        "needs --device cuda, and repeated lengths to pay",
    )


def check_graphs_argument(args: argparse.Namespace) -> None:
    """Raise InputError where ``--cuda-graphs`` is given for another device than CUDA."""
    if args.cuda_graphs:
        check_graphs(args.device, "--cuda-graphs")


def use_graphs(model: AcousticModel) -> GraphedEncoder:
    """From now on ``model`` replays recordings of its encoder; the result counts them."""
    assert isinstance(model, AsrModel), "exported files run on the CPU, where there are no graphs"
    return model.use_cuda_graphs()


def check_device(name: str) -> None:
    """Raise InputError unless PyTorch can compute on ``name``."""
    try:
        is_there = torch.device(name).type in ("cpu", "cuda", "mps")
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        is_there = False
    if not is_there:
        allowed = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(
            f"--device {name}: not there on this machine; allowed: {', '.join(allowed)}"
        )
