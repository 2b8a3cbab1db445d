"""`asr align`: the time of every word of a known text in a recording."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from asr.audio.open import open_audio
from asr.audio.read import stream_audio
from asr.audio.resample import resample_blocks
from asr.cli.device import add_device_argument, check_device
from asr.cli.options import add_plugin_argument
from asr.cli.recordings import add_chunk_arguments, add_model_argument, audio_path
from asr.decode.emissions import CtcModel, EmissionReader, TokenEmissions
from asr.decode.formats import FORMATS, USUAL
from asr.decode.greedy import TimedWord, join_words
from asr.decode.known_text import (
    TextAlignment,
    align_text,
    token_columns,
    words_of_text,
)
from asr.decode.labelling import FrameLabeller
from asr.decode.recogniser import load_recogniser
from asr.decode.transcript import Transcript
from asr.decode.vad import speech_detector
from asr.errors import InputError
from asr.files import read_packed_lines, write_text
from asr.interop.hub import local_model
from asr.model.asr_model import AsrModel
from asr.types import Waveform


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: recording, text, model, output."""
    parser.add_argument(
        "audio", type=audio_path, metavar="AUDIO", help="a recording of any format and length"
    )
    parser.add_argument(
        "text", type=Path, metavar="TEXT", help="its transcript, compressed by gzip or not"
    )
    add_plugin_argument(parser)
    add_model_argument(parser)
    parser.add_argument(
        "--format",
        choices=[*FORMATS, "textgrid"],
        default="ctm",
        help="as `asr transcribe` writes them; json also has scores, words not spoken and words "
        "not in the text; textgrid is Praat's (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a file instead of printing")
    add_chunk_arguments(parser)
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Align, write the result, and report on stderr what did not fit."""
    check_device(args.device)
    recogniser = load_recogniser(local_model(args.model), args.device)
    model = recogniser.model
    text = "\n".join(line for _, line in read_packed_lines(args.text))
    words = words_of_text(text, recogniser.tokenizer, recogniser.normalizer)
    columns = token_columns(words)
    labeller = FrameLabeller(
        CtcModel(model) if isinstance(model, AsrModel) else model,
        EmissionReader(columns),
        chunk_s=args.chunk,
        overlap_s=args.overlap,
        num_threads=args.num_threads,
        silence_db=args.silence,
        vad=speech_detector(args.vad, model.frontend.sample_rate_hz),
    )
    (heard,) = labeller([reader(args.audio, labeller.sample_rate_hz)])
    if isinstance(heard, InputError):
        raise heard
    assert isinstance(heard.labels, TokenEmissions)
    found = align_text(
        words,
        heard.labels,
        columns,
        recogniser.tokenizer,
        frame_shift_s=labeller.chunking.frame_shift_s,
        duration_s=heard.duration_s,
    )
    written = alignment_text(found, args.format, str(args.audio), heard.duration_s)
    if args.out is None:
        sys.stdout.write(written)
    else:
        write_text(args.out, written)
    for line in notices(found):
        print(f"asr align: {line}", file=sys.stderr)
    return 0


def reader(path: Path, sample_rate_hz: int) -> Callable[[], Iterator[Waveform]]:
    """Return a source of the recording's waveform, which reports damage on stderr."""

    def waveforms() -> Iterator[Waveform]:
        def warn(message: str) -> None:
            print(f"asr align: warning: {message}", file=sys.stderr)

        with open_audio(path) as source:
            blocks = stream_audio(source, strict=False, notify=warn)
            yield from resample_blocks(blocks, sample_rate_hz)

    return waveforms


def alignment_text(found: TextAlignment, kind: str, audio_path: str, duration_s: float) -> str:
    """Write the alignment in a format."""
    said = [
        TimedWord(one.word, one.start_s, one.end_s)
        for one in found.words
        if one.start_s is not None and one.end_s is not None
    ]
    if kind == "json":
        fields = {
            "audio_path": audio_path,
            "duration_s": round(duration_s, 3),
            "words": [
                {"word": one.word, "start_s": one.start_s, "end_s": one.end_s, "score": one.score}
                for one in found.words
            ],
            "not_in_text": [
                {"word": one.word, "start_s": one.start_s, "end_s": one.end_s}
                for one in found.not_in_text
            ],
        }
        return json.dumps(fields, ensure_ascii=False) + "\n"
    if kind == "textgrid":
        return textgrid(said, duration_s)
    text = join_words([one.word for one in said])
    return FORMATS[kind].write(
        [Transcript(audio_path, round(duration_s, 3), text, tuple(said))], USUAL
    )


def textgrid(words: Sequence[TimedWord], duration_s: float) -> str:
    """Write one tier of words, with empty intervals between, in Praat's long format."""
    intervals: list[tuple[float, float, str]] = []
    at_s = 0.0
    for one in words:
        if one.start_s > at_s:
            intervals.append((at_s, one.start_s, ""))
        if one.end_s > one.start_s:
            intervals.append((max(at_s, one.start_s), one.end_s, one.word))
            at_s = one.end_s
    if duration_s > at_s:
        intervals.append((at_s, duration_s, ""))
    head = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
        f"xmin = 0\nxmax = {duration_s:.3f}\ntiers? <exists>\nsize = 1\nitem []:\n    item [1]:\n"
        f'        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n'
        f"        xmax = {duration_s:.3f}\n        intervals: size = {len(intervals)}\n"
    )
    quoted = (
        f"        intervals [{number}]:\n            xmin = {start_s:.3f}\n"
        f"            xmax = {end_s:.3f}\n"
        '            text = "{}"\n'.format(word.replace('"', '""'))
        for number, (start_s, end_s, word) in enumerate(intervals, start=1)
    )
    return head + "".join(quoted)


def notices(found: TextAlignment) -> list[str]:
    """Describe what does not fit, a line each."""
    lines = []
    unsaid = [one.word for one in found.words if one.start_s is None]
    if unsaid:
        lines.append(
            f"{len(unsaid):,} of {len(found.words):,} words were not spoken: {first_words(unsaid)}"
        )
    if besides := [one.word for one in found.not_in_text]:
        lines.append(f"{len(besides):,} words are not in the text: {first_words(besides)}")
    return lines


def first_words(words: Sequence[str], most: int = 8) -> str:
    """Return the first words, with an ellipsis if there are more."""
    return join_words(words[:most]) + (" …" if len(words) > most else "")
