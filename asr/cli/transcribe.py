"""`asr transcribe`: audio files to text, subtitles or timed words."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch

from asr.audio.source import STDIN
from asr.cli.device import (
    add_device_argument,
    add_dtype_argument,
    add_graphs_argument,
    check_device,
    check_graphs_argument,
    use_graphs,
)
from asr.cli.options import (
    add_plugin_argument,
    audio_length,
    batch_duration,
    beam_size,
    level_or_off,
    number_in,
    overlap,
    threads,
)
from asr.cli.search import add_hotwords, add_search_arguments, search_config
from asr.decode.beam import BeamDecoder
from asr.decode.formats import FORMATS, suffix
from asr.decode.labelling import BATCH_S
from asr.decode.recogniser import load_recogniser
from asr.decode.search import build_search
from asr.decode.silence import SILENCE_DB
from asr.decode.timing import Timing
from asr.decode.transcribe import Channels, Transcriber
from asr.decode.transcript import Transcript
from asr.errors import InputError, printable
from asr.files import check_folder, fitting_name, write_text
from asr.ranges import Range


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: files, model, output."""
    parser.add_argument(
        "files",
        nargs="+",
        type=audio_path,
        metavar="FILE",
        help="any format and rate; a pipe, or - for standard input; behind --, names that begin "
        "with a dash",
    )
    add_plugin_argument(parser)
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
    parser.add_argument(
        "--channels",
        type=channels,
        default="mix",
        metavar="mix|N|split",
        help="the mean of all channels, the one of number N (from 1), or each for itself, for "
        "recordings with a speaker a side (default: %(default)s)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse damaged audio; by default what can be decoded is read, with a warning",
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
    add_search_arguments(parser)
    parser.add_argument(
        "--n-best",
        type=beam_size,
        default=1,
        metavar="N",
        help="with a beam and --format json: the N best texts of every piece, with their log "
        "probabilities (default: %(default)s)",
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


def audio_path(word: str) -> Path:
    """A path; ``-`` is standard input."""
    return STDIN if word == "-" else Path(word)


def channels(word: str) -> Channels:
    """``mix``, ``split``, or the number of a channel."""
    match word:
        case "mix" | "split":
            return word
    try:
        number: int = number_in(word, Annotated[int, Range(1, 1024)])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, mix or split") from None
    return number


def run(args: argparse.Namespace) -> int:
    """Write each transcript as soon as it is done; a bad file does not stop the others."""
    check_device(args.device)
    check_graphs_argument(args)
    check_places(args)
    if args.n_best > 1 and args.format != "json":
        raise InputError(f"--n-best {args.n_best} needs --format json: no other format holds them")
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    started_s = time.perf_counter()
    recogniser = load_recogniser(args.model, args.device, args.dtype)
    graphs = use_graphs(recogniser.model) if args.cuda_graphs else None
    decode = search_config(args, recogniser.config, n_best=args.n_best)
    decoder = build_search(decode, recogniser.model)
    add_hotwords(decoder, args, recogniser)
    transcriber = Transcriber(
        recogniser,
        decoder,
        chunk_s=args.chunk,
        overlap_s=args.overlap,
        batch_s=args.batch_duration,
        silence_db=args.silence,
        channels=args.channels,
        strict=args.strict,
        notify=lambda message: log_problem("warning", message),
    )
    loaded_s = time.perf_counter()
    num_bad, audio_s = 0, 0.0
    for transcripts in transcriber.each(args.files):
        if isinstance(transcripts, InputError):
            num_bad += 1
            log_problem("error", str(transcripts))
        else:
            audio_s += sum(transcript.duration_s for transcript in transcripts)
            write_transcripts(transcripts, args)
    if graphs is not None:
        print(graphs, file=sys.stderr)
    if isinstance(decoder, BeamDecoder) and decoder.skip_blank is not None:
        print(decoder, file=sys.stderr)
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
            work_s=transcriber.profiler.times_s(),
        )
        print(timing.as_json() if args.format == "json" else timing, file=sys.stderr)
    return 2 if num_bad else 0


def check_places(args: argparse.Namespace) -> None:
    """Raise InputError where the transcripts of two files would go to the same place."""
    if args.out is None:
        if len(args.files) > 1 and not FORMATS[args.format].is_line_by_line:
            raise InputError(
                f"--format {args.format} of several files needs --out DIR, for a file of each"
            )
        return
    check_folder(args.out)
    names: dict[str, Path] = {}
    for path in args.files:
        first = names.setdefault(output_name(path, args), path)
        if first is not path:
            raise InputError(
                f"--out {args.out}: {printable(first)} and {printable(path)} would both be written "
                f"to {printable(output_name(path, args))}; transcribe them one after the other, "
                "into other folders"
            )


def output_name(path: Path, args: argparse.Namespace) -> str:
    """The name of the output file of a recording."""
    return fitting_name(path.stem, suffix(args.format))


def log_problem(kind: str, message: str) -> None:
    """Print a warning or an error as one line on stderr."""
    print(f"asr transcribe: {kind}: {' '.join(printable(message).split())}", file=sys.stderr)


def write_transcripts(transcripts: Sequence[Transcript], args: argparse.Namespace) -> None:
    """Write to stdout, or to a file in --out; lines of text name their file if several are read."""
    text = FORMATS[args.format].write(transcripts)
    path = Path(transcripts[0].audio_path)
    if args.out is not None:
        write_text(args.out / output_name(path, args), text)
        return
    if args.format == "text" and len(args.files) > 1:
        text = "".join(f"{printable(path)}\t{line}\n" for line in text.splitlines())
    sys.stdout.write(text)
    sys.stdout.flush()
