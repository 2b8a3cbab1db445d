"""`asr train`: from a recipe to a run folder with model, record and report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from asr.cli.compose import compose_recipe
from asr.cli.dry_run import dry_run
from asr.cli.launch_line import describe_launch
from asr.cli.output import add_table_arguments, check_outputs, print_table
from asr.cli.places import check_folder
from asr.cli.price_table import write_price
from asr.cli.run_check import check_run
from asr.cli.run_folder import LENGTH, RunFolder, default_run_folder
from asr.cli.run_lock import locked
from asr.cli.run_summary import say
from asr.cli.training_run import train_run
from asr.data.share import is_first
from asr.types import InputError

EXIT_INTERRUPT = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, overrides and where the run lives."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    parser.add_argument(
        "overrides", nargs="*", help="Hydra overrides: reuse=probs train.trainer.max_steps=100"
    )
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="default: runs/<recipe>/<reuse>-<signature>"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--no-latency", action="store_true", help="leave the encoder's latency unmeasured"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="price the run: hours, memory, the largest batch that fits; writes no run folder",
    )
    add_table_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, print WER beside latency."""
    check_outputs(args)
    config = compose_recipe(args.recipe, args.overrides)
    splits = check_run(config, args.recipe)
    folder = (
        RunFolder(args.run_dir) if args.run_dir else default_run_folder(config, args.recipe, splits)
    )
    if args.dry_run:
        return price(args, config, folder)
    check_folder(folder.path)
    launch = describe_launch(config["train"]["trainer"], train_words(args), os.environ)
    if launch is not None:
        say(launch)
    with locked(folder.path) if is_first() else nullcontext():
        return train(args, config, folder)


def train(args: argparse.Namespace, config: Mapping[str, Any], folder: RunFolder) -> int:
    """Begin the run or go on with it, as the options say; returns the exit code."""
    record = folder.finished_record()
    if args.resume:
        changes = folder.check_same_config(config)
        for change in changes:
            say(change.notice)
        if any(change.key in LENGTH for change in changes):
            record = None
    elif record is not None:
        raise InputError(
            f"{folder.path} holds a finished run; --resume shows its result, "
            "another --run-dir trains again"
        )
    elif folder.is_begun():
        raise InputError(
            f"{folder.path} holds a run that has begun; --resume goes on, "
            "another --run-dir trains again"
        )
    if record is None:
        command = shlex.join(["asr", "train", str(args.recipe), *args.overrides])
        record = train_run(
            config, folder, command=command, resume=args.resume, with_latency=not args.no_latency
        )
    if record is None:  # the first of the processes goes on
        return 0
    if record.training is not None and record.training.interrupted:
        say(f"interrupted; the model so far is in {folder.model}, --resume goes on")
        return EXIT_INTERRUPT
    print_table([record], args)
    print(f"model: {folder.model}", file=sys.stderr)
    return 0


def train_words(args: argparse.Namespace) -> list[str]:
    """Recipe, overrides and options of a run, as typed."""
    words = [str(args.recipe), *args.overrides]
    if args.run_dir:
        words += ["--run-dir", str(args.run_dir)]
    if args.resume:
        words.append("--resume")
    if args.no_latency:
        words.append("--no-latency")
    return words


def price(args: argparse.Namespace, config: Mapping[str, Any], folder: RunFolder) -> int:
    """Print what the run would cost; with ``--json -`` the table goes to stderr."""
    if args.out:
        raise InputError(f"--out {args.out}: a dry run has no report; --json takes its numbers")
    table, row = dry_run(config, run=folder.name)
    print(table.text(), end="", file=sys.stderr if args.json == "-" else sys.stdout)
    if args.json:
        write_price(row, args.json)
    return 0
