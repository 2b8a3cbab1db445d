"""`asr compare`: one table of several schedules, WER beside latency."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.cli.options import chunk_ms, jobs, num_layers
from asr.cli.output import add_table_arguments
from asr.cli.parser import Parser
from asr.cli.recipe import is_override, is_recipe

LAUNCHERS = ("local", "submitit")


def add_arguments(parser: Parser) -> None:
    """Add the arguments: recipe, variants, outputs."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="Hydra overrides; commas list variants: reuse=none,probs seeds=3",
    )
    parser.add_argument(
        "--allow-unknown",
        action="store_true",
        help="train even if transcripts have characters that the tokenizer does not know; they "
        "are listed, and count as errors",
    )
    parser.add_argument(
        "--jobs",
        type=jobs,
        metavar="N",
        help="runs trained at once (default: CPU cores, or 1 with a GPU; all on a cluster)",
    )
    parser.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        default="local",
        help="where to train: in processes on this machine, or in jobs on a SLURM cluster "
        "(needs `pip install 'encore-asr[cluster]'`)",
    )
    parser.add_list(
        "--launcher-options",
        ends=lambda word: is_override(word) or is_recipe(word),
        metavar="KEY=VALUE",
        help="resources of every job, one or more of partition, hours (24), gpus, cpus, "
        "memory_gb, slurm.<any parameter of sbatch>; cluster=local tries it on this machine",
    )
    parser.add_list(
        "--exit",
        ends=lambda word: is_override(word) or is_recipe(word),
        type=num_layers,
        metavar="N",
        help="add a row for each run and each N, with the encoder stopped after the first N "
        "layers: WER and latency; for recipes with head.intermediate_layers",
    )
    parser.add_list(
        "--stream",
        ends=lambda word: is_override(word) or is_recipe(word),
        type=chunk_ms,
        metavar="MS",
        help="also decode the runs as live streams in chunks of each of these lengths, and "
        "report error rate, latency, time and memory; for recipes with encoder.chunk_frames "
        "(default: the chunks of metrics.streaming, if the recipe picks it)",
    )
    add_table_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train the missing runs, time all encoders in one process, print one table."""
    from asr.cli.compare_runs import compare_schedules  # imports Lightning, which takes seconds

    return compare_schedules(args)
