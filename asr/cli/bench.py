"""`asr bench`: encoder latency curves, without training."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from asr.cli.compose import compose_recipe, expand_sweep
from asr.cli.device import add_device_argument, check_device
from asr.cli.options import add_plugin_argument
from asr.cli.output import add_table_arguments, check_outputs, print_table
from asr.cli.override import variant_names
from asr.cli.parser import Parser
from asr.cli.recipe import TO_TIME, check_keys_for, is_recipe
from asr.cli.run_summary import log
from asr.errors import InputError
from asr.measure.latency import EncoderCost, difference_from_peer, measure_encoders
from asr.measure.peers.peer import PEERS, check_peers, peer_versions
from asr.measure.scaling import measure_scaling
from asr.measure.streaming import measure_streaming
from asr.measure.training_step import measure_training_steps
from asr.model.build import build
from asr.model.convert import full_attention
from asr.model.package import ModelPackage, load_package
from asr.profiling.hardware import Hardware, describe_hardware, installed_versions, source_revision
from asr.profiling.latency import LatencySpec
from asr.profiling.roofline import RooflineSpec
from asr.profiling.scaling import ScalingSpec
from asr.profiling.streaming import StreamingSpec
from asr.profiling.training_step import TrainingStepSpec
from asr.report.points import ScalingPoint, StreamingPoint, TrainingStepPoint
from asr.report.record import RunRecord

Configs = Mapping[str, Mapping[str, Any]]
Spec = TypeVar("Spec")


def add_arguments(parser: Parser) -> None:
    """Add the arguments: recipe, overrides (commas list variants), outputs."""
    parser.add_argument(
        "recipe",
        type=Path,
        nargs="?",
        metavar="RECIPE.yaml",
        help="required without --model; with --model the default is recipes/bench.yaml",
    )
    add_plugin_argument(parser)
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="time the encoder of this model, trained without reuse, with its weights; only reuse "
        "and metrics may then be overridden, and encoders of --against get the same weights",
    )
    parser.add_argument(
        "overrides", nargs="*", help="Hydra overrides; commas list variants: reuse=none,probs"
    )
    parser.add_list(
        "--against",
        ends=lambda word: "=" in word or is_recipe(word),
        choices=PEERS,
        metavar="LIBRARY",
        help="also time encoders of other libraries with the same dimensions, one or more of "
        f"{', '.join(PEERS)}; Encore does not install their libraries (`pip install "
        "transformers`; nemo needs nemo_toolkit[asr])",
    )
    add_device_argument(parser)
    add_table_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure every variant in one alternating process and print one table."""
    check_device(args.device)
    check_outputs(args)
    check_peers(args.against)
    package = read_model(args) if args.model else None
    if args.recipe is None:
        raise InputError("name a recipe, as in `asr bench recipes/bench.yaml`, or a --model")
    variants = expand_sweep(args.overrides)
    configs = {
        name: compose_recipe(args.recipe, overrides)
        for name, overrides in zip(variant_names(variants), variants, strict=True)
    }
    if package:
        own = {key: package.config[key] for key in ("features", "encoder")}
        configs = {name: {**config, **own} for name, config in configs.items()}
    for config in configs.values():
        check_keys_for("time", TO_TIME, config, args.recipe)
    check_alike(configs)
    spec = latency_spec(configs)
    roofline = metric_spec(configs, "roofline", RooflineSpec)
    scaling = metric_spec(configs, "scaling", ScalingSpec)
    streaming = metric_spec(configs, "streaming", StreamingSpec)
    training_step = metric_spec(configs, "training_step", TrainingStepSpec)
    where = {"device": args.device, "report": log}
    beside = {"against": args.against, **where}
    if package:
        for peer in args.against:
            error = difference_from_peer(package, peer)
            log(f"{peer} with the same weights: frames differ by {error:.1e} of their size")
    model = package.model if package else None
    costs = measure_encoders(configs, spec, roofline=roofline, model=model, **beside)
    scaled = measure_scaling(configs, scaling, **where) if scaling else {}
    streamed = measure_streaming(configs, streaming, **where) if streaming else {}
    steps = measure_training_steps(configs, training_step, **beside) if training_step else {}
    records = bench_records(
        configs,
        costs,
        scaled,
        streamed,
        steps,
        describe_hardware(
            args.device, spec.dtype, num_threads=spec.num_threads, cuda_graphs=spec.cuda_graphs
        ),
        installed_versions() | peer_versions(args.against),
        args.command,
    )
    print_table(records, args)
    return 0


def read_model(args: argparse.Namespace) -> ModelPackage:
    """Load the model of ``--model``.

    Raises:
        InputError: it has a reuse schedule, or an override would change its encoder.
    """
    if args.recipe and not is_recipe(str(args.recipe)):  # it is the first override
        args.overrides.insert(0, str(args.recipe))
        args.recipe = None
    args.recipe = args.recipe or Path("bench")
    for override in args.overrides:
        group = override.lstrip("+~").partition("=")[0].partition(".")[0]
        if group not in ("reuse", "metrics"):
            raise InputError(f"{override}: with --model only reuse and metrics may be overridden")
    package = load_package(args.model)
    full_attention(package.model.encoder)
    return package


def latency_spec(configs: Configs) -> LatencySpec:
    """Return the latency settings from the first config (all variants have the same)."""
    first = next(iter(configs.values()))
    spec: LatencySpec = build(first["metrics"]["latency"], "metrics.latency")
    return spec


def metric_spec(configs: Configs, metric: str, kind: type[Spec]) -> Spec | None:
    """Return the settings of ``metric`` from the first config; None if it is not picked."""
    first = next(iter(configs.values()))["metrics"]
    if metric not in first:
        return None
    spec = build(first[metric], f"metrics.{metric}")
    assert isinstance(spec, kind)
    return spec


def check_alike(configs: Configs) -> None:
    """Raise InputError if variants differ in their metrics."""
    first, *others = (config["metrics"] for config in configs.values())
    for other in others:
        if other != first:
            unlike = [name for name in first | other if first.get(name) != other.get(name)]
            raise InputError(
                f"metrics.{unlike[0]} differs between variants, but all are timed in the same way; "
                "give one value (lists of dtypes, threads and batch sizes go to metrics.scaling)"
            )


def bench_records(
    configs: Configs,
    costs: Mapping[str, EncoderCost],
    scaled: Mapping[str, tuple[ScalingPoint, ...]],
    streamed: Mapping[str, tuple[StreamingPoint, ...]],
    steps: Mapping[str, tuple[TrainingStepPoint, ...]],
    hardware: Hardware,
    versions: dict[str, str],
    command: str,
) -> list[RunRecord]:
    """Make a record, without training, for every measured config."""
    return [
        RunRecord(
            run=name,
            reuse=reuse_name(config),
            command=command,
            config=dict(config),
            schedule=costs[name].schedule,
            hardware=hardware,
            versions=versions,
            revision=source_revision(),
            parameters=costs[name].parameters,
            macs=costs[name].macs,
            latency=costs[name].latency,
            breakdown=costs[name].breakdown,
            work=costs[name].work,
            ceilings=costs[name].ceilings,
            scaling=scaled.get(name, ()),
            streaming=streamed.get(name, ()),
            training_step=steps.get(name, ()),
        )
        for name, config in configs.items()
    ]


def reuse_name(config: Mapping[str, Any]) -> str:
    """Return the name of a config's reuse method."""
    return str(build(config["reuse"], "reuse").name)
