"""``--exit`` and ``--exit-entropy``: early exits of the encoder."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from asr.cli.options import entropy, num_layers
from asr.decode.recogniser import AcousticModel
from asr.model.asr_model import AsrModel
from asr.model.exits import ConfidentExit
from asr.model.package import ModelPackage, load_package


class Exit(NamedTuple):
    """An exit: after all layers, after ``layers`` layers, or by ``entropy`` in nats."""

    layers: int | None = None
    entropy: float | None = None

    def name_of(self, name: str) -> str:
        """Name a run or split that is decoded with this exit."""
        if self.entropy is not None:
            return f"{name} exit at {self.entropy:g} nats"
        return name if self.layers is None else f"{name} exit {self.layers}"


ALL_LAYERS = Exit()


def add_exit_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--exit`` with one value."""
    parser.add_argument(
        "--exit",
        type=num_layers,
        metavar="N",
        help="stop the encoder after its first N layers; for models with a head trained there "
        "(head.intermediate_layers)",
    )


def add_exit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two options, with one value each."""
    add_exit_argument(parser)
    parser.add_argument(
        "--exit-entropy",
        type=entropy,
        metavar="NATS",
        help="stop each piece of audio after the first such layer with at most this entropy of "
        "its probabilities, the mean over frames; the number of layers used is printed at the end",
    )


def add_exit_lists(parser: argparse.ArgumentParser) -> None:
    """Add the two options, with a row of the table for each of their values."""
    parser.add_argument(
        "--exit",
        type=num_layers,
        nargs="+",
        default=[],
        metavar="N",
        help="stop the encoder after its first N layers, a row each; for models with a head "
        "trained there (head.intermediate_layers)",
    )
    parser.add_argument(
        "--exit-entropy",
        type=entropy,
        nargs="+",
        default=[],
        metavar="NATS",
        help="stop each piece of audio after the first such layer with at most this entropy of "
        "its probabilities, the mean over frames, a row each; the number of layers used is "
        "printed; latency depends on the audio and is left out",
    )


def exits_of(args: argparse.Namespace) -> list[Exit]:
    """Return the exits of the options of `add_exit_lists`, in order; by default all layers."""
    layers = [Exit(layers=number) for number in dict.fromkeys(args.exit)]
    return [*layers, *(Exit(entropy=one) for one in dict.fromkeys(args.exit_entropy))] or [
        ALL_LAYERS
    ]


def check_exits(args: argparse.Namespace, model: AsrModel) -> None:
    """Raise InputError unless ``model`` has all requested exits."""
    for exit in exits_of(args):
        if exit.layers is not None:
            model.check_exit(exit.layers)
        if exit.entropy is not None:
            ConfidentExit(model.encoder, model.head, model.exits, exit.entropy)


def load_at(args: argparse.Namespace, exit: Exit, dtype: str) -> ModelPackage:
    """Load the model of ``args`` with ``exit``; see `load_package`."""
    package = load_package(args.model, args.device, dtype, exit=exit.layers)
    package.model.encoder.keep_between_calls()
    if exit.entropy is not None:
        package.model.exit_when_confident(exit.entropy)
        package.config["exit_entropy"] = exit.entropy
    return package


def exit_notice(model: AcousticModel) -> str:
    """Describe the number of layers used by exits by entropy; empty for other models."""
    exits = model.confident_exit if isinstance(model, AsrModel) else None
    return "" if exits is None else str(exits)
