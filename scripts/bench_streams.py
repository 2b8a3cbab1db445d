"""Time of a chunk of live streams, from samples to what the head gives, alone and many together.

python scripts/bench_streams.py --model RUN stream.onnx --stream 320 --streams 1 100

Every model takes the next chunk of all its streams in turn, on one thread, so that their times can
be compared; first and last are medians over a quarter of the chunks.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from asr.decode.recogniser import load_recogniser
from asr.decode.stream_encoder import AudioStream, StreamEncoder, chunk_context


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, nargs="+", required=True)
    parser.add_argument("--stream", type=float, default=320)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--seconds", type=float, default=60, help="of audio of each stream")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = {path: load_recogniser(path).model for path in args.model}
    print("| model | streams | median ms | 99 % | RTF | first | last | KiB kept |")
    print("| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for num_streams in args.streams:
        encoders = {
            path: StreamEncoder(model, chunk_context(args.stream, model))
            for path, model in models.items()
        }
        streams = {
            path: [encoder.open() for _ in range(num_streams)] for path, encoder in encoders.items()
        }
        times_ms: dict[Path, list[float]] = {path: [] for path in encoders}
        for _ in range(round(1000 * args.seconds / args.stream)):
            for path, encoder in encoders.items():
                times_ms[path] += step_ms(encoder, streams[path], args.stream)
        for path, found in times_ms.items():
            quarter = max(1, len(found) // 4)
            median, first, last = map(np.median, (found, found[:quarter], found[-quarter:]))
            kept = streams[path][0].encoder.stream_bytes() / 1024
            print(
                f"| {path.name} | {num_streams} | {median:.2f} | {np.quantile(found, 0.99):.2f} "
                f"| {median / args.stream:.4f} | {first:.2f} | {last:.2f} | {kept:.0f} |"
            )


def step_ms(encoder: StreamEncoder, streams: list[AudioStream], chunk_ms: float) -> list[float]:
    """Milliseconds for a chunk of noise of every stream; nothing where none is due yet."""
    size = round(chunk_ms / 1000 * encoder.model.frontend.sample_rate_hz)
    for stream in streams:
        stream.push(0.1 * torch.randn(size))
    begun_s = time.perf_counter()
    due = [stream for stream in streams if encoder.is_due(stream)]
    if not due:
        return []
    encoder.step(due)
    return [1000 * (time.perf_counter() - begun_s)]


if __name__ == "__main__":
    main()
