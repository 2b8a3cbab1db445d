"""The work of `asr train`: from a recipe or a run folder to a finished run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from asr.cli.compose import compose_recipe
from asr.cli.dry_run import dry_run, write_price
from asr.cli.effects import check_effects, with_tokenizer_of_init
from asr.cli.launch import describe_launch
from asr.cli.output import check_outputs, exit_code, print_table
from asr.cli.parent import stop_with_parent
from asr.cli.recipe import is_override
from asr.cli.run_folder import LENGTH, RunFolder, default_run_folder
from asr.cli.run_lock import locked
from asr.cli.run_log import logged
from asr.cli.run_summary import log
from asr.cli.train_lm import EXIT_INTERRUPT, train_language_model
from asr.cli.training_run import train_run
from asr.cli.training_setup import check_run
from asr.distributed import is_first
from asr.errors import InputError
from asr.files import check_folder
from asr.report.record import RunRecord


def train_recipe(args: argparse.Namespace) -> int:
    """Train, evaluate, print WER beside latency."""
    stop_with_parent()
    check_outputs(args)
    recipe, overrides, folder = what_to_train(args)
    config = compose_recipe(recipe, overrides)
    if "lm" in config:
        return train_language_model(args, config, recipe, folder)
    check_effects({"": (overrides, config)})
    config = with_tokenizer_of_init(config)
    splits = check_run(config, recipe)
    if folder is None:
        folder = default_run_folder(config, recipe, splits)
    if args.dry_run:
        return price(args, config, folder)
    check_folder(folder.path)
    launch = describe_launch(config["train"]["trainer"], args.words, os.environ)
    if launch is not None:
        log(launch)
    with locked(folder.path) if is_first() else nullcontext():
        return train(args, config, folder)


def train(args: argparse.Namespace, config: Mapping[str, Any], folder: RunFolder) -> int:
    """Start or resume the run, by the options; return the exit code."""
    record = folder.finished_record()
    if args.resume is not None:
        changes = folder.check_same_config(config)
        for change in changes:
            log(change.notice)
        if any(change.key in LENGTH for change in changes):
            record = None
        elif record is not None:
            folder.check_no_change(config)
        if args.resume and record is None and not folder.is_begun():
            log(f"{folder.path} has no checkpoint yet: training starts from the beginning")
    elif record is not None:
        raise InputError(
            f"{folder.path} holds a finished run; `{folder.resume_command}` shows its result, "
            "another --run-dir trains again"
        )
    elif folder.is_begun():
        raise InputError(
            f"{folder.path} holds a run that has begun; `{folder.resume_command}` goes on, "
            "another --run-dir trains again"
        )
    if record is None:
        with logged(folder.path, args.command, begun=folder.config):
            record = train_run(
                config,
                folder,
                command=args.command,
                resume=args.resume is not None,
                with_latency=not args.no_latency,
                allow_unknown=args.allow_unknown,
            )
            return 0 if record is None else finish(record, args, folder)
    return finish(record, args, folder)


def finish(record: RunRecord, args: argparse.Namespace, folder: RunFolder) -> int:
    """Print the result of a run; return the exit code."""
    if record.training is not None and record.training.interrupted:
        log(
            f"interrupted; the model so far is in {folder.model}; to go on: {folder.resume_command}"
        )
        return EXIT_INTERRUPT
    print_table([record], args)
    print(f"model: {folder.model}", file=sys.stderr)
    return exit_code([record])


def what_to_train(args: argparse.Namespace) -> tuple[Path, list[str], RunFolder | None]:
    """Return recipe, overrides, and the run folder if one is given.

    Without a recipe, the config of the run to resume is used.

    Raises:
        InputError: neither a recipe nor a run is given, or two run folders are.
    """
    recipe, overrides = args.recipe, list(args.overrides)
    if recipe is not None and is_override(recipe):
        recipe, overrides = None, [recipe, *overrides]
    folder = RunFolder(args.run_dir) if args.run_dir else None
    if args.resume:
        resumed = RunFolder.holding(Path(args.resume))
        if folder is not None and folder.path.resolve() != resumed.path.resolve():
            raise InputError(
                f"--resume {args.resume} and --run-dir {args.run_dir} name two folders; give one"
            )
        folder = resumed
    if recipe is not None:
        return Path(recipe), overrides, folder
    if args.resume is None or folder is None:
        raise InputError("no recipe; name one (asr train RECIPE.yaml), or a run: --resume RUN")
    return RunFolder.holding(folder.path).config, overrides, folder


def price(args: argparse.Namespace, config: Mapping[str, Any], folder: RunFolder) -> int:
    """Print the estimated cost of the run; with ``--json -`` the table goes to stderr."""
    if args.out:
        raise InputError(f"--out {args.out}: a dry run has no report; use --json for its numbers")
    table, row = dry_run(config, run=folder.name, allow_unknown=args.allow_unknown)
    print(table.text(), end="", file=sys.stderr if args.json == "-" else sys.stdout)
    if args.json:
        write_price(row, args.json)
    return 0
