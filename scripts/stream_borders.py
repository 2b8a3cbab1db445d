"""What one live stream of many utterances loses against a stream for each, and by which state.

    python scripts/join_utterances.py data/an4/test.jsonl.gz data/joined --pause 0.6
    python scripts/stream_borders.py data/an4/test.jsonl.gz --model RUN --stream 320 1280

The utterances of a manifest are one stream with pauses of zeros, as `join_utterances.py` joins
them. In each pause, parts of the state are replaced by those of a new stream: the running
statistics of the features (norm) or the loudest frame among them (loudest), the earlier frames that
the encoder keeps (encoder), the segment of the search (segment). All rates are over the same words.
``alone`` is a stream for each utterance and its pause.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import asr
from asr.data.dataset import stream_utterance
from asr.data.manifest import read_manifest
from asr.decode.stream_encoder import chunk_context
from asr.decode.streaming import Stream, Streamer
from asr.metrics.wer import align_words

NORM, LOUDEST, ENCODER, SEGMENT = "norm", "loudest", "encoder", "segment"
ROWS: dict[str, Collection[str]] = {
    "nothing": (),
    "segment": (SEGMENT,),
    "loudest": (LOUDEST,),
    "norm": (NORM,),
    "encoder": (ENCODER,),
    "norm and encoder": (NORM, ENCODER),
    "all": (NORM, ENCODER, SEGMENT),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--stream", type=float, nargs="+", default=[320])
    parser.add_argument("--pause", type=float, default=0.6, metavar="S")
    args = parser.parse_args()
    model = asr.load(args.model)
    rate_hz = model.package.model.frontend.sample_rate_hz
    pause_N = np.zeros(round(args.pause * rate_hz), dtype=np.float32)
    spoken, texts = [], []
    for one in read_manifest(args.manifest):
        samples = [part.samples for part in stream_utterance(one, rate_hz)]
        spoken.append(torch.from_numpy(np.concatenate([*samples, pause_N])))
        texts.append(model.package.normalizer(one.text))
    print("| chunk ms | begins anew | WER % | sub | del | ins |")
    print("| ---: | :--- | ---: | ---: | ---: | ---: |")
    for chunk_ms in args.stream:
        context = chunk_context(chunk_ms, model.package.model)
        streamer = Streamer(model.package, model.decoder, context)
        heard = {"alone": " ".join(listen(streamer, [one], ()) for one in spoken)}
        heard |= {name: listen(streamer, spoken, anew) for name, anew in ROWS.items()}
        for name, text in heard.items():
            errors, _ = align_words(" ".join(texts), text)
            counts = f"{errors.sub} | {errors.del_} | {errors.ins}"
            print(f"| {chunk_ms:g} | {name} | {errors.wer:.1f} | {counts} |", flush=True)


def listen(streamer: Streamer, spoken: Sequence[Tensor], anew: Collection[str]) -> str:
    """The text of one stream, in which ``anew`` begins anew behind each of ``spoken``."""
    stream = streamer.open()
    found: list[str] = []
    for samples_N in spoken:
        stream.push(samples_N)
        found += final(streamer, stream)
        begin_anew(streamer, stream, anew)
        if SEGMENT in anew:
            found += [result.text for result in stream.last()]
    stream.end()
    return " ".join([*found, *final(streamer, stream)])


def final(streamer: Streamer, stream: Stream) -> list[str]:
    """The texts of the segments that end in the audio so far."""
    return [result.text for result in streamer.results(stream) if result.is_final]


def begin_anew(streamer: Streamer, stream: Stream, anew: Collection[str]) -> None:
    """Replace parts of the state of a stream by those of a new one, at the border of a block."""
    fresh = streamer.encoder.open()
    if NORM in anew:
        stream.audio.norm = fresh.norm
    if LOUDEST in anew and stream.audio.norm is not None and fresh.norm is not None:
        stream.audio.norm = stream.audio.norm._replace(loudest_B=fresh.norm.loudest_B)
    if ENCODER in anew:
        stream.audio.encoder = fresh.encoder


if __name__ == "__main__":
    main()
