"""What cutting long audio costs: words of one long recording beside those of its utterances alone.

    python scripts/check_cutting.py data/an4/test.jsonl.gz --model RUN --length 3600 --pause 0.6

Utterances of the manifests, in a random order and again if there are too few, are joined to
recordings of ``--length`` seconds, with ``--pause`` seconds of noise (``--noise`` dB of full scale)
or of zeros between them. Each cutter transcribes the recording. The table has the words that differ
from those of the utterances alone, the share of word starts and ends that are within 80 ms of
theirs, the word error rate, and the time that finding pauses and all of it took.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import asr
from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.data.manifest import read_manifest
from asr.decode.greedy import TimedWord
from asr.metrics.wer import WordErrors, align_words

CLOSE_S = 0.08
CUTTERS = ("energy", "silero", "none")


class Joined(NamedTuple):
    """A recording, the transcript of its references, and the words of its utterances alone."""

    samples: NDArray[np.float32]
    text: str
    words: list[TimedWord]


class Result(NamedTuple):
    """Words that differ from those of the utterances alone, how far times are off, and the cost."""

    differing: WordErrors
    errors: WordErrors
    gaps_s: NDArray[np.float64]
    vad_s: float
    wall_s: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--length", type=float, default=3600.0, metavar="S")
    parser.add_argument("--pause", type=float, nargs="+", default=[0.6], metavar="S")
    parser.add_argument("--noise", type=float, metavar="DB", help="white noise instead of zeros")
    parser.add_argument("--vad", nargs="+", default=CUTTERS, choices=CUTTERS)
    parser.add_argument("--chunk", type=float, nargs="+", default=[30.0], metavar="S")
    parser.add_argument("--overlap", type=float, default=4.0, metavar="S")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(
        "| pause s | cutter | chunk s | words | differing % | WER alone | WER | within 80 ms % "
        "| vad s | all s |"
    )
    print("| ---: | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for pause_s in args.pause:
        rng = np.random.default_rng(args.seed)
        joined = join(args.manifests, args.model, args.length, pause_s, args.noise, rng)
        alone = " ".join(word.word for word in joined.words)
        before = align_words(joined.text, alone)[0].wer
        for vad in args.vad:
            for chunk_s in args.chunk:
                found = check(joined, args.model, vad, chunk_s, min(args.overlap, chunk_s / 2))
                close = 100 * (found.gaps_s <= CLOSE_S).mean()
                print(
                    f"| {pause_s:g} | {vad} | {chunk_s:g} | {len(joined.words)} "
                    f"| {found.differing.wer:.2f} | {before:.2f} | {found.errors.wer:.2f} "
                    f"| {close:.2f} | {found.vad_s:.1f} | {found.wall_s:.1f} |",
                    flush=True,
                )


def join(
    manifests: Sequence[Path],
    model: str,
    length_s: float,
    pause_s: float,
    noise_db: float | None,
    rng: np.random.Generator,
) -> Joined:
    """Utterances in a random order, joined to ``length_s`` seconds, with their words alone."""
    transcriber = asr.load(model)
    normalize = transcriber.package.normalizer
    rate_hz = transcriber.package.model.frontend.sample_rate_hz
    utterances = [one for path in manifests for one in read_manifest(path)]
    waveforms = [
        resample(
            read_audio(one.audio_path, start_s=one.start_s, duration_s=one.duration_s), rate_hz
        )
        for one in utterances
    ]
    alone = transcriber.transcribe([(one.samples, rate_hz) for one in waveforms])
    parts: list[NDArray[np.float32]] = []
    texts: list[str] = []
    words: list[TimedWord] = []
    num_samples = 0
    while num_samples < length_s * rate_hz:
        for number in rng.permutation(len(utterances)):
            offset_s = num_samples / rate_hz
            words += [
                TimedWord(one.word, one.start_s + offset_s, one.end_s + offset_s)
                for one in alone[number].words
            ]
            texts.append(normalize(utterances[number].text))
            pause = np.zeros(round(pause_s * rate_hz), dtype=np.float32)
            if noise_db is not None:
                pause += 10 ** (noise_db / 20) * rng.normal(size=len(pause)).astype(np.float32)
            parts += [waveforms[number].samples, pause]
            num_samples += len(parts[-1]) + len(parts[-2])
            if num_samples >= length_s * rate_hz:
                break
    return Joined(np.concatenate(parts), " ".join(texts), words)


def check(joined: Joined, model: str, vad: str, chunk_s: float, overlap_s: float) -> Result:
    """Transcribe the recording with one cutter."""
    transcriber = asr.load(model, vad=vad, chunk_s=chunk_s, overlap_s=overlap_s)
    rate_hz = transcriber.package.model.frontend.sample_rate_hz
    begun_s = time.perf_counter()
    found = transcriber.transcribe(joined.samples, rate_hz)
    wall_s = time.perf_counter() - begun_s
    text = " ".join(word.word for word in found.words)
    differing, aligned = align_words(" ".join(word.word for word in joined.words), text)
    gaps_s: list[float] = []
    theirs, ours = iter(joined.words), iter(found.words)
    for pair in aligned:
        one = next(theirs) if pair["ref"] is not None else None
        other = next(ours) if pair["hyp"] is not None else None
        if one is not None and other is not None and one.word == other.word:
            gaps_s += [abs(one.start_s - other.start_s), abs(one.end_s - other.end_s)]
    return Result(
        differing,
        align_words(joined.text, text)[0],
        np.array(gaps_s),
        transcriber.profiler.times_s().get("vad", 0.0),
        wall_s,
    )


if __name__ == "__main__":
    main()
