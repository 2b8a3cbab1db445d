"""Streaming options, and `asr transcribe --live`, which prints words as they are spoken."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import BinaryIO

import numpy as np

from asr.audio.read import stream_audio
from asr.audio.source import STDIN
from asr.cli.options import chunk_ms, sample_rate
from asr.cli.recordings import OF_FILES
from asr.decode.recogniser import AcousticModel
from asr.decode.stream_encoder import chunk_context
from asr.decode.streaming import StreamResult
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.nn.chunks import ChunkContext
from asr.types import Waveform

BLOCK_S = 0.1
"""Seconds of audio read at once."""
LIVE_FORMATS = ("text", "json")


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the streaming options to `asr transcribe`."""
    parser.add_argument(
        "--stream",
        type=chunk_ms,
        metavar="MS",
        help="decode recordings as live streams in chunks of this length; for models trained in "
        "chunks (encoder.chunk_frames)",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="with --stream: print the text of one recording, or of standard input, while it is "
        "read; with --format json an object per result, also for partial results",
    )
    parser.add_argument(
        "--raw",
        type=sample_rate,
        metavar="HZ",
        help="with --live: standard input is 16-bit PCM of this rate, one channel, no header",
    )
    parser.add_argument(
        "--pace", action="store_true", help="with --live: read a file no faster than it plays"
    )


def stream_context(length_ms: float | None, model: AcousticModel) -> ChunkContext | None:
    """Return the attention context for chunks of ``--stream``; None for whole recordings."""
    return None if length_ms is None else chunk_context(length_ms, model)


def check_stream(args: argparse.Namespace, *, without_effect: Mapping[str, object]) -> None:
    """Raise InputError if an option is given that has no effect on streams.

    ``without_effect`` has these options with their defaults.
    """
    for option, usual in without_effect.items():
        if getattr(args, option) != usual:
            name = option.replace("_", "-")
            raise InputError(f"--{name} has no effect with --stream: it is for whole recordings")


def check_live(args: argparse.Namespace) -> None:
    """Raise InputError for streaming options that contradict each other or have no effect."""
    if args.stream is None and args.live:
        raise InputError("--live needs --stream MS")
    for option in ("raw", "pace"):
        if getattr(args, option) and not args.live:
            raise InputError(f"--{option} needs --live")
    if args.stream is not None:
        check_stream(args, without_effect=OF_FILES | {"batch_duration": None})
    if not args.live:
        return
    for option, usual in (
        ("n_best", 1),
        ("timing", False),
        ("skip_existing", False),
        ("speakers", None),
    ):
        if getattr(args, option) != usual:
            raise InputError(f"--{option.replace('_', '-')} has no effect with --live")
    if args.channels == "split":
        raise InputError("--live --channels split: allowed: mix or a number")
    if args.format not in LIVE_FORMATS:
        raise InputError(f"--live --format {args.format}: allowed: {', '.join(LIVE_FORMATS)}")
    if args.out is not None or args.beside or args.list is not None or len(args.files) != 1:
        raise InputError("--live prints the text of one recording: give one, or - for a stream")
    if args.raw and args.files[0] != STDIN:
        raise InputError("--raw is for standard input: give - as the recording")


def run_live(
    args: argparse.Namespace, transcriber: Transcriber, notify: Callable[[str], None]
) -> None:
    """Print every result of a stream as soon as it is available; ``notify`` gets warnings."""
    stream = transcriber.stream(args.stream)
    show = show_json if args.format == "json" else TextLine().show
    if args.raw:
        blocks = raw_blocks(sys.stdin.buffer, args.raw)
    else:
        channel = None if args.channels == "mix" else args.channels
        blocks = file_blocks(
            stream_audio(args.files[0], channel=channel, strict=args.strict, notify=notify)
        )
    for waveform in paced(blocks) if args.pace else blocks:
        for result in stream.send(waveform.samples, waveform.sample_rate_hz):
            show(result)
    for result in stream.finish():
        show(result)


def file_blocks(blocks: Iterable[Waveform]) -> Iterator[Waveform]:
    """Yield the audio of a file in short blocks."""
    for waveform in blocks:
        size = max(1, round(BLOCK_S * waveform.sample_rate_hz))
        for start in range(0, len(waveform.samples), size):
            yield Waveform(waveform.samples[start : start + size], waveform.sample_rate_hz)


def raw_blocks(source: BinaryIO, sample_rate_hz: int) -> Iterator[Waveform]:
    """Yield 16-bit little-endian samples as they arrive."""
    odd = b""
    while piece := source.read1(2 * max(1, round(BLOCK_S * sample_rate_hz))):  # type: ignore[attr-defined]
        piece = odd + piece
        whole = len(piece) // 2 * 2
        odd = piece[whole:]
        samples = np.frombuffer(piece[:whole], "<i2").astype(np.float32) / np.float32(2**15)
        yield Waveform(samples, sample_rate_hz)


def paced(blocks: Iterator[Waveform]) -> Iterator[Waveform]:
    """Yield the same blocks in real time, each when its last sample would have been spoken."""
    started_s, heard_s = time.monotonic(), 0.0
    for waveform in blocks:
        heard_s += waveform.duration_s
        time.sleep(max(0.0, started_s + heard_s - time.monotonic()))
        yield waveform


class TextLine:
    """A printer of final texts, one per line; on a terminal the partial text is below them."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()

    def show(self, result: StreamResult) -> None:
        """Print a result; skip a partial one if it cannot be overwritten later."""
        if not result.is_final and not self._is_terminal:
            return
        start = "\r\x1b[K" if self._is_terminal else ""
        sys.stdout.write(start + result.text + ("\n" if result.is_final else ""))
        sys.stdout.flush()


def show_json(result: StreamResult) -> None:
    """Print a result as one JSON object."""
    fields = {**asdict(result), "words": [word.as_dict() for word in result.words]}
    print(json.dumps(fields, ensure_ascii=False), flush=True)
