"""`asr transcribe`: audio files to text."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from asr.cli.device import add_device_argument, check_device
from asr.cli.numbers import seconds, seconds_or_none
from asr.decode.transcribe import Transcriber, Transcript
from asr.model.build import build
from asr.model.recogniser import load_recogniser
from asr.types import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, the model, and how to print."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="any format and rate")
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="model folder, or a file of `asr export`",
    )
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="text, or one JSON object per line with word times (default: %(default)s)",
    )
    add_device_argument(parser)
    parser.add_argument(
        "--chunk", type=seconds, default=30.0, metavar="S", help="longest piece encoded at once"
    )
    parser.add_argument(
        "--overlap",
        type=seconds_or_none,
        default=4.0,
        metavar="S",
        help="shared by neighbouring pieces",
    )


def run(args: argparse.Namespace) -> int:
    """Print each transcript as soon as it is there; a bad file does not stop the others."""
    check_device(args.device)
    package = load_recogniser(args.model, args.device)
    decoder = build(package.config["decode"], "decode")
    transcriber = Transcriber(package, decoder, chunk_s=args.chunk, overlap_s=args.overlap)
    num_bad = 0
    for path in args.files:
        try:
            transcript = transcriber(path)
        except InputError as error:
            num_bad += 1
            print(f"asr transcribe: error: {error}", file=sys.stderr)
        else:
            print(line(transcript, args), flush=True)
    return 2 if num_bad else 0


def line(transcript: Transcript, args: argparse.Namespace) -> str:
    """One line of output; the file is named where there are several."""
    if args.format == "json":
        return json.dumps(asdict(transcript), ensure_ascii=False)
    return (
        transcript.text if len(args.files) == 1 else f"{transcript.audio_path}\t{transcript.text}"
    )
