"""Types of options that take numbers; argparse adds the option's name to their errors."""

from __future__ import annotations

import argparse
import functools
from typing import Annotated, Any, get_args

from asr.ranges import (
    AudioLength,
    BatchDuration,
    BeamSize,
    Bonus,
    ChunkMs,
    Count,
    Entropy,
    Layers,
    Range,
    Rounds,
    SampleRate,
    Seed,
    Share,
    Threads,
    Tokens,
    Weight,
    describe,
    fits,
    shown,
)


def number_in(text: str, hint: Any) -> Any:
    """Parse a number; ValueError unless the annotated type ``hint`` allows it."""
    kind = get_args(hint)[0]
    try:
        number = kind(text)
    except ValueError:
        number = None
    if not fits(number, hint):
        raise ValueError(f"{shown(text)}: allowed: {describe(hint)}")
    return number


def add_plugin_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--plugin``, for every command that loads a model."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="your package with classes that the model needs; its code runs (may be repeated)",
    )


def _read(hint: Any, text: str) -> Any:
    try:
        return number_in(text, hint)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


WHOLE_S = 86_400.0
"""Longer than any recording."""


def chunk_length(text: str) -> float:
    """Parse the seconds of a chunk; ``none`` for whole recordings."""
    if text == "none":
        return WHOLE_S
    try:
        length_s: float = number_in(text, AudioLength)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or none") from None
    return length_s


def level_or_off(text: str) -> float | None:
    """Parse a level in dBFS; None for ``off``."""
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
shards = functools.partial(_read, Annotated[int, Range(1, 99_999)])
seed = functools.partial(_read, Seed)
audio_length = functools.partial(_read, AudioLength)
batch_duration = functools.partial(_read, BatchDuration)
overlap = functools.partial(_read, Annotated[float, Range(0, 7200)])
milliseconds = functools.partial(_read, Annotated[float, Range(0, 1e9, above=True)])
fraction = functools.partial(_read, Share)
chunk_ms = functools.partial(_read, ChunkMs)
sample_rate = functools.partial(_read, SampleRate)
columns = functools.partial(_read, Annotated[int, Range(8, 1000)])
cue_lines = functools.partial(_read, Annotated[int, Range(1, 10)])
cue_length = functools.partial(_read, Annotated[float, Range(0.5, 60)])
beam_size = functools.partial(_read, BeamSize)
token_count = functools.partial(_read, Tokens)
weight = functools.partial(_read, Weight)
num_layers = functools.partial(_read, Layers)
entropy = functools.partial(_read, Entropy)
bonus = functools.partial(_read, Bonus)
