"""`asr transcribe`: audio files to text, subtitles or timed words."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from asr.atomic import write_text
from asr.cli.device import (
    add_device_argument,
    add_dtype_argument,
    add_graphs_argument,
    check_device,
    check_graphs_argument,
    use_graphs,
)
from asr.cli.numbers import seconds, seconds_or_none
from asr.cli.places import check_folder
from asr.decode.formats import FORMATS, suffix
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
        choices=FORMATS,
        default="text",
        help="text, one JSON object per line with word times, subtitles, or timed words as "
        "scoring tools read them (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write a file per recording, named after it, instead of printing",
    )
    add_device_argument(parser)
    add_dtype_argument(parser)
    add_graphs_argument(parser)
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
    """Write each transcript as soon as it is there; a bad file does not stop the others."""
    check_device(args.device)
    check_graphs_argument(args)
    check_places(args)
    recogniser = load_recogniser(args.model, args.device, args.dtype)
    graphs = use_graphs(recogniser.model) if args.cuda_graphs else None
    decoder = build(recogniser.config["decode"], "decode")
    transcriber = Transcriber(recogniser, decoder, chunk_s=args.chunk, overlap_s=args.overlap)
    num_bad = 0
    for path in args.files:
        try:
            transcript = transcriber(path)
        except InputError as error:
            num_bad += 1
            print(f"asr transcribe: error: {error}", file=sys.stderr)
        else:
            put(transcript, args)
    if graphs is not None:
        print(graphs, file=sys.stderr)
    return 2 if num_bad else 0


def check_places(args: argparse.Namespace) -> None:
    """Raise InputError where transcripts of several files would run into one another."""
    if args.out is None:
        if len(args.files) > 1 and not FORMATS[args.format].is_line_by_line:
            raise InputError(
                f"--format {args.format} of several files needs --out DIR, for a file of each"
            )
        return
    check_folder(args.out)
    name, times = Counter(path.stem for path in args.files).most_common(1)[0]
    if times > 1:
        raise InputError(
            f"--out {args.out}: {times} of the files are called {name}; "
            "transcribe them one after the other, into other folders"
        )


def put(transcript: Transcript, args: argparse.Namespace) -> None:
    """To the terminal, or into the file of its own; a line of text names its file among several."""
    text = FORMATS[args.format].write(transcript)
    if args.out is not None:
        write_text(args.out / (Path(transcript.audio_path).stem + suffix(args.format)), text)
        return
    if args.format == "text" and len(args.files) > 1:
        text = f"{transcript.audio_path}\t{text}"
    sys.stdout.write(text)
    sys.stdout.flush()
