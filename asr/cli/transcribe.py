"""`asr transcribe`: audio files to text, subtitles or timed words."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import torch

from asr.atomic import write_text
from asr.cli.device import (
    add_device_argument,
    add_dtype_argument,
    add_graphs_argument,
    check_device,
    check_graphs_argument,
    use_graphs,
)
from asr.cli.numbers import audio_length, batch_duration, level_or_off, overlap, threads
from asr.cli.places import check_folder
from asr.decode.formats import FORMATS, suffix
from asr.decode.labelling import BATCH_S
from asr.decode.silence import SILENCE_DB
from asr.decode.timing import Timing
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
        help="model folder, run folder, or a file of `asr export`",
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
        "--chunk",
        type=audio_length,
        default=30.0,
        metavar="S",
        help="longest piece encoded at once",
    )
    parser.add_argument(
        "--overlap",
        type=overlap,
        default=4.0,
        metavar="S",
        help="shared by neighbouring pieces",
    )
    parser.add_argument(
        "--batch-duration",
        type=batch_duration,
        metavar="S",
        help="audio encoded at once, pieces of all files together "
        f"(default: {BATCH_S['cpu']:g}, on a GPU {BATCH_S['cuda']:g})",
    )
    parser.add_argument(
        "--num-threads",
        type=threads,
        metavar="N",
        help="CPU threads, each with a batch of its own (default: one per core)",
    )
    parser.add_argument(
        "--silence",
        type=level_or_off,
        default=SILENCE_DB,
        metavar="DB",
        help="pieces below this level, in dB of full scale, have no words, nor has steady noise "
        "up to 30 dB above; off: every piece is read (default: %(default)g)",
    )
    parser.add_argument(
        "--timing",
        action="store_true",
        help="say at the end, on stderr, how long it took and where the time went; with "
        "--format json as an object",
    )


def run(args: argparse.Namespace) -> int:
    """Write each transcript as soon as it is there; a bad file does not stop the others."""
    check_device(args.device)
    check_graphs_argument(args)
    check_places(args)
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    started_s = time.perf_counter()
    recogniser = load_recogniser(args.model, args.device, args.dtype)
    graphs = use_graphs(recogniser.model) if args.cuda_graphs else None
    decoder = build(recogniser.config["decode"], "decode")
    transcriber = Transcriber(
        recogniser,
        decoder,
        chunk_s=args.chunk,
        overlap_s=args.overlap,
        batch_s=args.batch_duration,
        silence_db=args.silence,
    )
    loaded_s = time.perf_counter()
    num_bad, audio_s = 0, 0.0
    for transcript in transcriber.each(args.files):
        if isinstance(transcript, InputError):
            num_bad += 1
            print(f"asr transcribe: error: {transcript}", file=sys.stderr)
        else:
            audio_s += transcript.duration_s
            put(transcript, args)
    if graphs is not None:
        print(graphs, file=sys.stderr)
    if num_bad and len(args.files) > 1:
        print(
            f"asr transcribe: {num_bad} of {len(args.files)} files could not be read",
            file=sys.stderr,
        )
    if args.timing:
        timing = Timing(
            audio_s=audio_s,
            wall_s=time.perf_counter() - loaded_s,
            load_s=loaded_s - started_s,
            num_threads=torch.get_num_threads(),
            work_s=transcriber.stopwatch.times_s(),
        )
        print(timing.as_json() if args.format == "json" else timing, file=sys.stderr)
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
