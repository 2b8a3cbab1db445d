"""`asr bench`: encoder latency curves, without training."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.cli.compose import compose_recipe, expand_sweep
from asr.cli.device import add_device_argument, check_device
from asr.cli.output import add_table_arguments, check_outputs, print_table
from asr.cli.run_check import TO_TIME, check_keys_for
from asr.cli.run_summary import say
from asr.cli.variants import variant_names
from asr.metrics.latency import LatencySpec
from asr.metrics.training_step import TrainingStepSpec
from asr.model.build import build
from asr.report.bench import EncoderCost, measure_encoders
from asr.report.hardware import Hardware, describe_hardware
from asr.report.provenance import installed_versions, source_revision
from asr.report.record import RunRecord, TrainingStepPoint
from asr.report.training_steps import measure_training_steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, overrides (commas list variants) and where the table goes."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    parser.add_argument(
        "overrides", nargs="*", help="Hydra overrides; commas list variants: reuse=none,probs"
    )
    add_device_argument(parser)
    add_table_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure every variant in one alternating process and print one table."""
    check_device(args.device)
    check_outputs(args)
    variants = expand_sweep(args.overrides)
    configs = {
        name: compose_recipe(args.recipe, overrides)
        for name, overrides in zip(variant_names(variants), variants, strict=True)
    }
    for config in configs.values():
        check_keys_for("time", TO_TIME, config, args.recipe)
    spec = latency_spec(configs)
    step_spec = training_step_spec(configs)
    costs = measure_encoders(configs, spec, device=args.device, report=say)
    steps = (
        measure_training_steps(configs, step_spec, device=args.device, report=say)
        if step_spec
        else {}
    )
    hardware = describe_hardware(
        args.device, spec.dtype, num_threads=spec.num_threads, cuda_graphs=spec.cuda_graphs
    )
    records = bench_records(configs, costs, steps, hardware, command_line("bench", args))
    print_table(records, args)
    return 0


def latency_spec(configs: Mapping[str, Mapping[str, Any]]) -> LatencySpec:
    """What to time, from the first config (a comparison times every variant alike)."""
    first = next(iter(configs.values()))
    spec: LatencySpec = build(first["metrics"]["latency"], "metrics.latency")
    return spec


def training_step_spec(configs: Mapping[str, Mapping[str, Any]]) -> TrainingStepSpec | None:
    """The training step to time, from the first config; None where the recipe picks none."""
    first = next(iter(configs.values()))["metrics"]
    if "training_step" not in first:
        return None
    spec: TrainingStepSpec = build(first["training_step"], "metrics.training_step")
    return spec


def bench_records(
    configs: Mapping[str, Mapping[str, Any]],
    costs: Mapping[str, EncoderCost],
    steps: Mapping[str, tuple[TrainingStepPoint, ...]],
    hardware: Hardware,
    command: str,
) -> list[RunRecord]:
    """A record without training for every measured config."""
    return [
        RunRecord(
            run=name,
            reuse=reuse_name(config),
            command=command,
            config=dict(config),
            schedule=costs[name].schedule,
            hardware=hardware,
            versions=installed_versions(),
            revision=source_revision(),
            parameters=costs[name].parameters,
            macs=costs[name].macs,
            latency=costs[name].latency,
            breakdown=costs[name].breakdown,
            training_step=steps.get(name, ()),
        )
        for name, config in configs.items()
    ]


def reuse_name(config: Mapping[str, Any]) -> str:
    """Name of the reuse method of a config."""
    return str(build(config["reuse"], "reuse").name)


def command_line(verb: str, args: argparse.Namespace) -> str:
    """The command as it can be typed again."""
    overrides: Sequence[str] = args.overrides
    return " ".join(["asr", verb, str(args.recipe), *overrides])
