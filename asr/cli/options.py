"""Options that commands share: numbers, device and precision, and the parser that reads them."""

from __future__ import annotations

import argparse
import functools
from typing import Annotated, Any, get_args

import torch

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
from asr.types import DTYPES, InputError


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
fraction = functools.partial(_read, Share)


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, by default the CPU."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def add_dtype_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--dtype``, by default float32."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="what the encoder computes in (default: %(default)s)",
    )


def add_graphs_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--cuda-graphs``, by default off."""
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
    """Let ``model`` replay CUDA graphs of its encoder; returns their counter."""
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
