"""`asr transcribe`: transcribe audio files to text, subtitles or timed words."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch

from asr.cli.device import (
    add_device_argument,
    add_dtype_argument,
    add_graphs_argument,
    check_device,
    check_graphs_argument,
    use_graphs,
)
from asr.cli.exits import add_exit_arguments, exit_notice
from asr.cli.live import add_live_arguments, check_live, run_live, stream_context
from asr.cli.options import (
    add_plugin_argument,
    batch_duration,
    beam_size,
    columns,
    cue_length,
    cue_lines,
    number_in,
)
from asr.cli.recordings import (
    Recording,
    add_chunk_arguments,
    add_model_argument,
    add_recording_arguments,
    output_path,
    recordings,
)
from asr.cli.search import add_search_arguments, search_config, search_of
from asr.cli.transcribe_corpus import add_corpus_arguments, check_corpus, run_corpus
from asr.decode.formats import FORMATS, CueLimits
from asr.decode.labelling import BATCH_S, SEARCHED_TOGETHER_S
from asr.decode.recogniser import load_recogniser
from asr.decode.search import notice_of
from asr.decode.speakers import Turn, read_rttm, turns_of, with_speakers
from asr.decode.timing import DecodingTime
from asr.decode.transcribe import Channels, Transcriber
from asr.decode.transcript import Transcript
from asr.errors import InputError, printable
from asr.files import write_text
from asr.ranges import Range
from asr.report.table import duration_text

CUE_OPTIONS = {
    "cue_width": "line_width",
    "cue_lines": "num_lines",
    "cue_duration": "duration_s",
}
"""Subtitle options, with the limits that they set."""


NUM_BAD_LISTED = 20
"""Most unreadable files listed at the end; each was also reported before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: recordings, model, output."""
    add_recording_arguments(parser)
    add_plugin_argument(parser)
    add_model_argument(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="text, one JSON object per line with word times, subtitles, timed words for scoring "
        "tools, or a table of segments (default: text, with --shards json)",
    )
    add_cue_arguments(parser)
    parser.add_argument(
        "--channels",
        type=channels,
        default="mix",
        metavar="mix|N|split",
        help="the mean of all channels, channel N (from 1), or each separately, for recordings "
        "with one speaker per channel (default: %(default)s)",
    )
    parser.add_argument(
        "--speakers",
        type=Path,
        metavar="FILE",
        help="speaker turns in RTTM, as diarization programs write it: every word gets the speaker "
        "of its turn",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse damaged audio; by default the readable part is decoded, with a warning",
    )
    add_device_argument(parser)
    add_dtype_argument(parser, default="auto")
    add_graphs_argument(parser)
    add_exit_arguments(parser)
    add_chunk_arguments(parser)
    parser.add_argument(
        "--batch-duration",
        type=batch_duration,
        metavar="S",
        help="audio encoded at once, chunks of all files together "
        f"(default: {BATCH_S['cpu']:g}, with a beam {SEARCHED_TOGETHER_S:g}, on a GPU "
        f"{BATCH_S['cuda']:g})",
    )
    add_corpus_arguments(parser)
    add_live_arguments(parser)
    add_search_arguments(parser)
    parser.add_argument(
        "--n-best",
        type=beam_size,
        default=1,
        metavar="N",
        help="with a beam and --format json: the N best texts of every chunk, with their log "
        "probabilities (default: %(default)s)",
    )
    parser.add_argument(
        "--timing",
        action="store_true",
        help="print the total time and its parts at the end, on stderr; with --format json as an "
        "object",
    )


def add_cue_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the limits of subtitles."""
    usual = CueLimits()
    parser.add_argument(
        "--cue-width",
        type=columns,
        metavar="N",
        help="longest line of a subtitle, in columns; a Chinese or Japanese character takes two "
        f"(default: {usual.line_width})",
    )
    parser.add_argument(
        "--cue-lines",
        type=cue_lines,
        metavar="N",
        help=f"most lines of a subtitle (default: {usual.num_lines})",
    )
    parser.add_argument(
        "--cue-duration",
        type=cue_length,
        metavar="S",
        help=f"longest subtitle (default: {usual.duration_s:g})",
    )


def cue_limits(args: argparse.Namespace) -> CueLimits:
    """Return the requested limits of subtitles.

    Raises:
        InputError: one is given, but the format has no subtitles.
    """
    given = {
        name: getattr(args, option)
        for option, name in CUE_OPTIONS.items()
        if getattr(args, option) is not None
    }
    if given and not FORMATS[args.format].has_cues:
        option = next(option for option, name in CUE_OPTIONS.items() if name in given)
        raise InputError(
            f"--{option.replace('_', '-')} has no effect on --format {args.format}; "
            "it is for srt and vtt"
        )
    return CueLimits(**given)


def channels(word: str) -> Channels:
    """Parse ``mix``, ``split``, or the number of a channel."""
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
    args.format = args.format or ("text" if args.shards is None else "json")
    limits = cue_limits(args)
    check_live(args)
    check_corpus(args)
    if args.speakers is not None and args.channels == "split":
        raise InputError("--speakers and --channels split: give one; each channel is a speaker")
    found = recordings(args)
    if args.shards is not None:
        return run_corpus(args, found)
    if args.n_best > 1 and args.format != "json":
        raise InputError(f"--n-best {args.n_best} needs --format json: no other format has them")
    turns = read_rttm(args.speakers) if args.speakers is not None else {}
    started_s = time.perf_counter()
    transcriber = open_transcriber(args)
    graphs = use_graphs(transcriber.package.model) if args.cuda_graphs else None
    if args.live:
        run_live(args, transcriber, transcriber.notify)
        return 0
    loaded_s = time.perf_counter()
    bad: list[Path] = []
    audio_s = 0.0
    results = transcriber.each([one.path for one in found])
    for recording, transcripts in zip(found, results, strict=True):
        if isinstance(transcripts, InputError):
            bad.append(recording.path)
            log_problem("error", str(transcripts))
        else:
            audio_s += sum(transcript.duration_s for transcript in transcripts)
            if args.speakers is not None:
                transcripts = spoken_by(transcripts, turns, recording, args)
            path = output_path(recording, args)
            text = FORMATS[args.format].write(transcripts, limits)
            if path is not None:
                write_text(path, text)
            else:
                show(text, transcripts, is_named=len(found) > 1 and args.format == "text")
    if graphs is not None:
        print(graphs, file=sys.stderr)
    notices = notice_of(transcriber.decoder), exit_notice(transcriber.package.model)
    for notice in filter(None, notices):
        print(notice, file=sys.stderr)
    wall_s = time.perf_counter() - loaded_s
    if len(found) > 1:
        summarise_files(args, len(found), bad, audio_s, wall_s)
    if args.timing:
        timing = DecodingTime(
            audio_s=audio_s,
            wall_s=wall_s,
            load_s=loaded_s - started_s,
            num_threads=torch.get_num_threads(),
            work_s=transcriber.profiler.times_s(),
        )
        print(timing.as_json() if args.format == "json" else timing, file=sys.stderr)
    return 2 if bad else 0


def summarise_files(
    args: argparse.Namespace, num_files: int, bad: Sequence[Path], audio_s: float, wall_s: float
) -> None:
    """Print the number of transcripts, the speed, and the unreadable files."""
    if args.out is not None or args.beside:
        print(
            f"asr transcribe: {num_files - len(bad):,} of {num_files:,} files transcribed, "
            f"{duration_text(audio_s)} of audio in {duration_text(wall_s)}, "
            f"{audio_s / wall_s:.1f} times real time",
            file=sys.stderr,
        )
    if bad:
        names = ", ".join(printable(path) for path in bad[:NUM_BAD_LISTED])
        others = f" and {len(bad) - NUM_BAD_LISTED:,} others" if len(bad) > NUM_BAD_LISTED else ""
        counts = f"{len(bad):,} of {num_files:,}"
        print(f"asr transcribe: {counts} files could not be read: {names}{others}", file=sys.stderr)


def spoken_by(
    transcripts: Sequence[Transcript],
    turns: Mapping[str, Sequence[Turn]],
    recording: Recording,
    args: argparse.Namespace,
) -> tuple[Transcript, ...]:
    """Return transcripts with speakers; without turns, warn and return them unchanged."""
    own = turns_of(turns, recording.path)
    if not own:
        log_problem("warning", f"{recording.path}: {args.speakers} has no turn of it")
    return tuple(with_speakers(one, own) for one in transcripts)


def open_transcriber(args: argparse.Namespace) -> Transcriber:
    """Load the model and build its search by the arguments.

    Raises:
        InputError: the model cannot be loaded, or does not have the options.
    """
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    recogniser = load_recogniser(
        args.model, args.device, args.dtype, exit=args.exit, exit_entropy=args.exit_entropy
    )
    decode = search_config(args, recogniser.config, n_best=args.n_best)
    return Transcriber(
        recogniser,
        search_of(args, decode, recogniser),
        chunk_s=args.chunk,
        overlap_s=args.overlap,
        batch_s=args.batch_duration,
        silence_db=args.silence,
        vad=args.vad,
        stream=stream_context(args.stream, recogniser.model),
        channels=args.channels,
        strict=args.strict,
        notify=lambda message: log_problem("warning", message),
    )


def log_problem(kind: str, message: str) -> None:
    """Print a warning or an error as one line on stderr."""
    print(f"asr transcribe: {kind}: {' '.join(printable(message).split())}", file=sys.stderr)


def show(text: str, transcripts: Sequence[Transcript], *, is_named: bool) -> None:
    """Print ``text`` and flush; lines name their file if ``is_named``."""
    if is_named:
        name = printable(transcripts[0].audio_path)
        text = "".join(f"{name}\t{line}\n" for line in text.splitlines())
    sys.stdout.write(text)
    sys.stdout.flush()
