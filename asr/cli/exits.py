"""``--exit`` and ``--exit-entropy``: how many layers of the encoder are used."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from asr.cli.options import entropy, num_layers
from asr.decode.recogniser import AcousticModel
from asr.model.asr_model import AsrModel
from asr.model.exits import ConfidentExit
from asr.model.package import ModelPackage, load_package


class Exit(NamedTuple):
    """All layers, the first ``layers`` of them, or as many as ``entropy`` in nats asks for."""

    layers: int | None = None
    entropy: float | None = None

    def name_of(self, name: str) -> str:
        """A run or split, read with this exit."""
        if self.entropy is not None:
            return f"{name} exit at {self.entropy:g} nats"
        return name if self.layers is None else f"{name} exit {self.layers}"


ALL_LAYERS = Exit()


def add_exit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two options, with one value each."""
    parser.add_argument(
        "--exit",
        type=num_layers,
        metavar="N",
        help="stop the encoder behind its first N layers; for models whose head was trained there "
        "(head.intermediate_layers)",
    )
    parser.add_argument(
        "--exit-entropy",
        type=entropy,
        metavar="NATS",
        help="stop each piece of audio behind the first such layer whose probabilities have this "
        "entropy or less, the mean over its frames; how many layers were used is said at the end",
    )


def add_exit_lists(parser: argparse.ArgumentParser) -> None:
    """Add the two options, with a row of the table for each of their values."""
    parser.add_argument(
        "--exit",
        type=num_layers,
        nargs="+",
        default=[],
        metavar="N",
        help="stop the encoder behind its first N layers, a row each; for models whose head was "
        "trained there (head.intermediate_layers)",
    )
    parser.add_argument(
        "--exit-entropy",
        type=entropy,
        nargs="+",
        default=[],
        metavar="NATS",
        help="stop each piece of audio behind the first such layer whose probabilities have this "
        "entropy or less, the mean over its frames, a row each; latency, which would depend on "
        "the audio, is left out, and how many layers were used is said",
    )


def exits_of(args: argparse.Namespace) -> list[Exit]:
    """The rows that `add_exit_lists` asks for, in order; all layers where it asks for none."""
    layers = [Exit(layers=number) for number in dict.fromkeys(args.exit)]
    return [*layers, *(Exit(entropy=one) for one in dict.fromkeys(args.exit_entropy))] or [
        ALL_LAYERS
    ]


def check_exits(args: argparse.Namespace, model: AsrModel) -> None:
    """Raise InputError where ``model`` has not all the exits that are asked for."""
    for exit in exits_of(args):
        if exit.layers is not None:
            model.check_exit(exit.layers)
        if exit.entropy is not None:
            ConfidentExit(model.encoder, model.head, model.exits, exit.entropy)


def load_at(args: argparse.Namespace, exit: Exit, dtype: str) -> ModelPackage:
    """The model of ``args``, ready to be left at ``exit``; see `load_package`."""
    package = load_package(args.model, args.device, dtype, exit=exit.layers)
    package.model.encoder.keep_between_calls()
    if exit.entropy is not None:
        package.model.exit_when_confident(exit.entropy)
        package.config["exit_entropy"] = exit.entropy
    return package


def exit_notice(model: AcousticModel) -> str:
    """How many layers were used, where each piece of audio had its own exit; else empty."""
    exits = model.confident_exit if isinstance(model, AsrModel) else None
    return "" if exits is None else str(exits)
