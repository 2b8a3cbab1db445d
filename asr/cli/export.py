"""`asr export`: a trained model as one ONNX file, or as a folder for transformers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.convert import check_empty
from asr.cli.exits import add_exit_argument
from asr.cli.live import check_stream, stream_context
from asr.cli.options import add_plugin_argument, audio_length, chunk_ms, rounds
from asr.cli.run_folder import run_name
from asr.cli.run_summary import log
from asr.decode.recogniser import ONNX_SUFFIX
from asr.errors import InputError, check_installed
from asr.files import check_folder, check_json, write_bytes, write_text
from asr.interop.huggingface import read_huggingface, write_huggingface
from asr.model.package import ModelPackage, check_whole_outputs, load_package
from asr.profiling.hardware import describe_hardware, installed_versions

if TYPE_CHECKING:
    from asr.measure.exported import ExportRow
    from asr.measure.samples import Sample

MANIFEST_SUFFIXES = (".jsonl", ".jsonl.gz")
_NEEDED = ("onnxruntime", "onnx", "onnxscript")
LENGTHS_S = [5.0, 15.0, 30.0]
LARGEST_RELATIVE_ERROR = 1e-3  # of float32 frames; rounding alone stays below


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: model, file, data to compare on."""
    add_plugin_argument(parser)
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="model folder, or the run folder that holds it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.onnx|DIR",
        help="the file to write, or for --format huggingface a new or empty folder",
    )
    parser.add_argument(
        "--format",
        choices=("onnx", "huggingface"),
        default="onnx",
        help="onnx: one file for ONNX Runtime; huggingface: a folder that transformers loads as "
        "ParakeetForCTC, if it can express the model (%(default)s)",
    )
    parser.add_argument(
        "--int8", action="store_true", help="8-bit matrix products in the encoder: smaller, faster"
    )
    parser.add_argument(
        "--weight-bits",
        type=int,
        choices=(7, 8),
        default=7,
        help="bits of --int8 weights: 8 is finer, but overflows on x86 without VNNI (%(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="manifests or audio files to compare on (default: noise, comparing only frames)",
    )
    parser.add_argument(
        "--lengths",
        type=audio_length,
        nargs="*",
        default=LENGTHS_S,
        metavar="S",
        help="seconds of audio to time encoders with; none: no latency",
    )
    parser.add_argument(
        "--stream",
        type=chunk_ms,
        metavar="MS",
        help="export the encoder for one block of live streams with chunks of this length, from "
        "features, with its state as inputs and outputs; for models trained in chunks",
    )
    add_exit_argument(parser)
    parser.add_argument("--repeats", type=rounds, default=10, help="rounds of timing (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write a row per program (- : stdout)")


def run(args: argparse.Namespace) -> int:
    """Export, load the file again, compare, print one table."""
    if args.format == "huggingface":
        return run_huggingface(args)
    check_installed("asr export", _NEEDED, extra="export")
    if args.out.suffix != ONNX_SUFFIX:
        raise InputError(f"--out {args.out}: allowed: a file name that ends in {ONNX_SUFFIX}")
    check_folder(args.out.parent)
    check_json(args.json)
    package = load_package(args.model, exit=args.exit)
    package.model.head.check_serves("asr export")
    check_whole_outputs(package.config, package.folder, "asr export")
    context = stream_context(args.stream, package.model)
    if context is not None:
        check_stream(args, without_effect={"lengths": LENGTHS_S})
    samples = read_samples(package, args.data)

    from asr.interop.onnx.export import Exported
    from asr.interop.onnx.stream_step import ExportedStep
    from asr.measure.exported import FLOAT32, INT8, compare_exported, export_rows, export_table
    from asr.measure.exported_step import compare_steps

    log("exporting the model; a large one takes a minute or two")
    exported: Exported | ExportedStep
    exported = Exported(package) if context is None else ExportedStep(package, context)
    contents = {FLOAT32: exported.float32}
    if args.int8:
        contents[INT8] = exported.int8(args.weight_bits)
    name, content = list(contents.items())[-1]
    write_bytes(args.out, content)
    contents[name] = args.out.read_bytes()
    on = "" if args.data else " on noise; give speech by --data to compare words"
    log(f"comparing {', '.join(contents)} with the model{on}")
    if context is not None:
        rows = compare_steps(package, contents, samples, context, repeats=args.repeats)
    else:
        rows = compare_exported(
            package, contents, samples, lengths_s=args.lengths, repeats=args.repeats
        )
    stream = sys.stderr if args.json == "-" else sys.stdout
    print(export_table(rows).text(), file=stream)
    check_error(rows, args.out)
    if args.json:
        plain = export_rows(
            rows,
            run=run_name(args.model),
            reuse=package.model.encoder.reuse.name,
            file=args.out,
            hardware=describe_hardware(),
            versions=installed_versions(),
        )
        text = json.dumps(plain, indent=2) + "\n"
        print(text, end="") if args.json == "-" else write_text(args.json, text)
    how = "" if context is None else f"--stream {args.stream:g} "
    log(f"transcribe with it: asr transcribe AUDIO {how}--model {args.out}")
    return 0


def run_huggingface(args: argparse.Namespace) -> int:
    """Write a folder for transformers, read it again, and compare the weights."""
    for option in ("int8", "data", "json", "stream", "exit"):
        if getattr(args, option):
            raise InputError(f"--{option} has no effect with --format huggingface")
    check_empty(args.out)
    package = load_package(args.model)
    package.model.head.check_serves("asr export")
    check_whole_outputs(package.config, package.folder, "asr export")
    write_huggingface(package, args.out)
    _, again = read_huggingface(args.out)
    own = package.model.state_dict()
    differing = [name for name, one in again.state_dict().items() if not one.equal(own[name])]
    if differing:
        raise InputError(f"{args.out}: read again, {differing[0]} differs; do not use the folder")
    print(f"{args.out}: for ParakeetForCTC.from_pretrained; read again, all weights are equal")
    return 0


def read_samples(package: ModelPackage, paths: Sequence[Path]) -> list[Sample]:
    """Read the audio to compare on.

    Raises:
        InputError: a file cannot be read, or a transcript has characters the model cannot write.
    """
    from asr.data.check import check_characters
    from asr.data.manifest import read_manifest
    from asr.measure.samples import samples_of_audio, samples_of_noise, samples_of_utterances

    rate_hz = package.model.frontend.sample_rate_hz
    if not paths:
        return list(samples_of_noise(rate_hz))
    samples: list[Sample] = []
    for path in paths:
        if path.name.endswith(MANIFEST_SUFFIXES):
            utterances = read_manifest(path)
            check_characters(utterances, tokenizer=package.tokenizer, normalizer=package.normalizer)
            samples += samples_of_utterances(package, utterances, path.name.partition(".")[0])
        else:
            samples += samples_of_audio(path, rate_hz)
    if not samples:
        raise InputError(f"--data {paths[0]}: nothing in it could be read; see the log")
    return samples


def check_error(rows: Sequence[ExportRow], path: Path) -> None:
    """Delete ``path`` unless its float32 outputs equal the model's.

    Raises:
        InputError: they differ.
    """
    from asr.measure.exported import FLOAT32

    (error,) = (row.agreement.relative for row in rows if row.runtime == FLOAT32)
    if not error < LARGEST_RELATIVE_ERROR:
        path.unlink()
        raise InputError(
            f"{path} was removed: in float32 its frames differ from the model's by {error:.1e} of "
            f"their size, allowed: {LARGEST_RELATIVE_ERROR:g}; this model cannot be exported"
        )
