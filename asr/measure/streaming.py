"""The time that encoders take per chunk of live streams, and the memory of each stream.

Every schedule is timed in alternation with its baselines, as in `asr.measure.latency`. The streams
have run for a long time, so everything they store is full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import torch

from asr.encoder.stack import Encoder
from asr.encoder.streaming import EncoderState, encode_block, start_streams
from asr.measure.alternation import measure_points
from asr.measure.encoders import (
    BASELINES,
    distinct_encoders,
    encoder_key,
    frame_shift_ms,
    with_reuse,
)
from asr.measure.peers.peer import Config
from asr.model.build import build_frontend
from asr.nn.chunks import ChunkContext
from asr.profiling.streaming import StreamingSpec
from asr.report.points import StreamingPoint

_HEARD_FRAMES = 1_000_000


def measure_streaming(
    configs: Mapping[str, Config],
    spec: StreamingSpec,
    *,
    contexts: Mapping[str, Sequence[ChunkContext]] | None = None,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[StreamingPoint, ...]]:
    """Time the encoders of run configs (groups ``features``, ``encoder``, ``reuse``) together.

    ``contexts`` replaces the chunks of ``spec``: for each config the same number of them, to be
    timed together in this order. ``report`` receives a line per point.

    Raises:
        InputError: a method attends over whole utterances.
    """
    encoders = distinct_encoders(configs, device)
    if contexts is None:
        usual = [
            ChunkContext(number, spec.left_frames, spec.right_frames)
            for number in spec.chunk_frames
        ]
        contexts = dict.fromkeys(configs, usual)
    contexts_of = {
        encoder_key(variant): contexts[name]
        for name, config in configs.items()
        for variant in (config, *(with_reuse(config, reuse) for reuse in BASELINES.values()))
    }
    points: dict[str, list[StreamingPoint]] = {name: [] for name in configs}
    num_chunks = len(next(iter(contexts_of.values())))
    for index, num_streams in product(range(num_chunks), spec.num_streams):
        sizes = dict.fromkeys(str(of_one[index].chunk_frames) for of_one in contexts_of.values())
        report(
            f"timing {len(encoders)} encoders at {num_streams} streams, chunks of "
            f"{' or '.join(sizes)} frames"
        )
        states = {
            key: running(encoder, contexts_of[key][index], num_streams)
            for key, (encoder, _) in encoders.items()
        }
        calls = {
            key: next_block(encoder, states[key], device) for key, (encoder, _) in encoders.items()
        }
        found, timings = measure_points(
            StreamingPoint,
            configs,
            calls,
            spec,
            length_s=0.0,
            batch_size=num_streams,
            device=device,
            num_threads=spec.num_threads,
        )
        for name, point in found.items():
            config = configs[name]
            key = encoder_key(config)
            context, fbank = contexts_of[key][index], build_frontend(config).fbank
            frame_s = frame_shift_ms(config) / 1000 * encoders[key][0].subsampling_factor
            window_s = (fbank.window_size - fbank.shift_size) / fbank.sample_rate_hz
            points[name].append(
                replace(
                    point,
                    length_s=context.chunk_frames * frame_s,
                    latency_s=context.block_frames * frame_s + window_s,
                    p99_ms=float(np.quantile(timings[key].samples_ms, 0.99)),
                    kept_bytes=states[key].stream_bytes(),
                )
            )
    return {name: tuple(of_run) for name, of_run in points.items()}


def running(encoder: Encoder, context: ChunkContext, num_streams: int) -> EncoderState:
    """Return the state of streams that have run for a long time."""
    state = start_streams(encoder, context, num_streams)
    kept = tuple(torch.randn_like(one) for one in state.kept)
    return replace(state, num_seen_B=state.num_seen_B + _HEARD_FRAMES, kept=kept)


def next_block(
    encoder: Encoder, state: EncoderState, device: torch.device | str
) -> Callable[[], object]:
    """Return a call that encodes one block of every stream, always the same."""
    factor, size = encoder.subsampling_factor, state.context.block_frames
    features_BTF = torch.randn(
        len(state), (1 + size) * factor, encoder.num_mel_bins, dtype=encoder.dtype, device=device
    )
    lengths_B = torch.full((len(state),), size * factor, device=device)
    return partial(torch.inference_mode()(encode_block), encoder, features_BTF, lengths_B, state)
