"""The argument parser of every verb."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from asr.cli.suggest import did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse with three habits: options are never abbreviated (a typing error is not a guess),
    overrides may stand before and after options, and a mistyped option gets a suggestion.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(  # type: ignore[override]  # argparse declares overloads for its namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """The parsed arguments; exits with code 2 and one line on stderr when they are wrong."""
        nested = any(action.nargs == argparse.PARSER for action in self._actions)
        parse = self.parse_known_args if nested else self.parse_known_intermixed_args
        parsed, unknown = parse(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            word = unknown[0].partition("=")[0]
            self.error(f"unknown argument {word}{did_you_mean(word, options)}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Prints ``message`` in one line and exits with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see `{self.prog} --help`)\n")
