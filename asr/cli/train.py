"""`asr train`: train a recipe; write a run folder with model, record and report."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.cli.output import add_table_arguments
from asr.cli.parser import Parser
from asr.cli.recipe import RUN_CONFIG, is_override, is_recipe


def add_arguments(parser: Parser) -> None:
    """Add the arguments: recipe, overrides, run folder."""
    parser.add_argument(
        "recipe",
        nargs="?",
        metavar="RECIPE.yaml",
        help="a recipe, or the config.yaml of a run; --resume RUN needs none",
    )
    parser.add_argument(
        "overrides", nargs="*", help="Hydra overrides: reuse=probs train.trainer.max_steps=100"
    )
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="default: runs/<recipe>/<reuse>-<signature>"
    )
    parser.add_optional_value(
        "--resume",
        ends=lambda word: is_override(word) or (is_recipe(word) and Path(word).name != RUN_CONFIG),
        metavar="RUN",
        help="resume from the last checkpoint of the run folder RUN (or --run-dir) with its "
        "original settings; overrides may make it longer",
    )
    parser.add_argument(
        "--allow-unknown",
        action="store_true",
        help="train even if transcripts have characters that the tokenizer does not know; they "
        "are listed, and count as errors",
    )
    parser.add_argument(
        "--no-latency", action="store_true", help="do not measure the encoder's latency"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="estimate the hours, memory and time waiting for data of the run; writes no run "
        "folder",
    )
    add_table_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, print WER beside latency."""
    from asr.cli.train_recipe import train_recipe  # imports Lightning, which takes seconds

    return train_recipe(args)
