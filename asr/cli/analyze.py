"""`asr analyze`: attention similarity and locality of a trained model, and a suggested schedule."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from asr.cli.device import add_device_argument, check_device
from asr.cli.options import add_plugin_argument, audio_length, count, fraction, milliseconds
from asr.cli.output import check_outputs
from asr.cli.parser import command_text, did_you_mean
from asr.cli.recipe import locate_configs
from asr.cli.run_folder import run_name
from asr.cli.run_summary import log
from asr.data.manifest import read_manifest
from asr.data.splits import evenly_spaced
from asr.errors import InputError
from asr.files import write_text
from asr.measure.analysis.analyze import analyze
from asr.measure.analysis.propose import (
    EncoderLatency,
    check_budget,
    config_text,
    measure_layer_costs,
)
from asr.measure.analysis.trial import PROBS, is_grouped
from asr.model.convert import full_attention
from asr.model.package import ModelPackage, load_package
from asr.report.analysis import Analysis
from asr.report.analysis_table import headline, layer_table, proposal, suggestion_lines
from asr.report.plain import to_plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: model, manifest, outputs."""
    add_plugin_argument(parser)
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="model folder, or the run folder that holds it",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="MANIFEST",
        help="manifests of `asr prepare`: <split>.jsonl.gz",
    )
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help="analyse N utterances, evenly spread (default: all)",
    )
    parser.add_argument(
        "--threshold",
        type=fraction,
        default=0.8,
        metavar="S",
        help="similarity above which layers are grouped, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--length",
        type=audio_length,
        metavar="S",
        help="time the encoder on S seconds of audio and predict the latency of every schedule",
    )
    parser.add_argument(
        "--budget",
        type=milliseconds,
        metavar="MS",
        help="propose the schedule with the least risk within MS milliseconds at --length",
    )
    parser.add_argument(
        "--try",
        dest="method",
        metavar="METHOD",
        help="also convert the model layer by layer to this reuse method (probs), measure the "
        "loss, and propose a schedule by the loss",
    )
    add_device_argument(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write analysis.json, analysis.html and reuse/suggested.yaml here; train, compare, "
        "convert and bench take the proposal as reuse=DIR/reuse/suggested.yaml",
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers as JSON (- : stdout)")


def run(args: argparse.Namespace) -> int:
    """Analyse the model, print a line per layer, and write the requested files."""
    check_device(args.device)
    check_outputs(args)
    if args.budget and not args.length:
        raise InputError("--budget needs --length, the seconds of audio it applies to")
    reuse = read_method(args.method) if args.method else None
    package = load_package(args.model, args.device)
    package.model.head.check_serves("asr analyze")
    if reuse is not None:
        full_attention(package.model.encoder)
    utterances = read_manifest(args.data)
    latency = measured_latency(package, reuse or PROBS, args) if args.length else None
    analysis = analyze(
        package,
        evenly_spaced(utterances, args.limit) if args.limit else utterances,
        run=run_name(args.model),
        data=args.data.name,
        threshold=args.threshold,
        latency=latency,
        budget_ms=args.budget,
        reuse=reuse,
        report=log,
    )
    print_analysis(analysis, sys.stderr if args.json == "-" else sys.stdout)
    text = json.dumps([to_plain(analysis)], ensure_ascii=False, allow_nan=False) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
    elif args.json:
        write_text(args.json, text)
    if args.out:
        write_text(args.out / "analysis.json", text)
        from asr.report.pages.analysis import analysis_page

        write_text(args.out / "analysis.html", analysis_page(analysis))
        log(f"analysis.json and analysis.html are in {args.out}")
        write_proposal(analysis, args)
    return 0


def write_proposal(analysis: Analysis, args: argparse.Namespace) -> None:
    """Write the proposal as a reuse config and print how to use it, if it shares anything."""
    file = args.out / "reuse" / "suggested.yaml"
    file.unlink(missing_ok=True)
    suggested, tried = analysis.suggested, analysis.tried
    if suggested is None or not (tried or suggested).proposed.shares:
        log("the proposal shares nothing, so there is no reuse/suggested.yaml")
        return
    write_text(file, config_text(analysis.run, suggested, tried))
    convert = ["asr", "convert", f"reuse={file}", "--model", str(args.model), "--out", "NEW_FOLDER"]
    log(
        f"the proposal is reuse={file}, for train, compare and bench; as a model: "
        f"{command_text(convert)}"
    )


def read_method(name: str) -> dict[str, Any]:
    """Read the config ``configs/reuse/<name>.yaml``.

    Raises:
        InputError: there is no such config, or its method has no groups.
    """
    found = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((locate_configs() / "reuse").glob("*.yaml"))
    }
    grouped = {stem: reuse for stem, reuse in found.items() if is_grouped(reuse)}
    if name not in grouped:
        raise InputError(
            f"--try {name}: not a reuse method with groups{did_you_mean(name, grouped)}; "
            f"allowed: {', '.join(grouped)}"
        )
    return dict(grouped[name])


def measured_latency(
    package: ModelPackage, reuse: Mapping[str, Any], args: argparse.Namespace
) -> EncoderLatency:
    """Measure the latency of layers on this machine in the roles of a reuse method.

    Raises:
        InputError: no schedule is within ``--budget``.
    """
    num_layers = package.model.encoder.num_layers
    log(f"timing the encoder at {args.length:g} s of audio")
    latency = measure_layer_costs(
        package.config,
        num_layers=num_layers,
        length_s=args.length,
        reuse=reuse,
        device=args.device,
    )
    if args.budget:
        check_budget(latency, args.budget, num_layers=num_layers)
    return latency


def print_analysis(analysis: Analysis, stream: TextIO) -> None:
    """Print the proposal and its reasons, a line per layer, and the groups to try."""
    width = shutil.get_terminal_size((120, 24)).columns
    print(headline(analysis), file=stream)
    if answer := proposal(analysis):
        print(textwrap.fill(answer, width), file=stream)
    print(layer_table(analysis).text(width=width), file=stream)
    print(*suggestion_lines(analysis), sep="\n", file=stream)
