"""Streams of any cut and company equal the whole recording encoded in the same chunks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.decode.recogniser import load_recogniser
from asr.decode.stream_encoder import AudioStream, StreamEncoder, chunk_context
from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.package import load_package
from asr.nn.chunks import ChunkContext
from tests.model.configs import SAMPLE_RATE_HZ, changed, tiny_model

from .package import noise, save_tiny_package
from .streams import save_streaming_package, streaming_config

CONTEXT = ChunkContext(3, 8, 1)
SECONDS = 1.7


@pytest.fixture(scope="module")
def model() -> AsrModel:
    return tiny_model(streaming_config())


def samples(duration_s: float, seed: int = 0) -> Tensor:
    return torch.from_numpy(noise(duration_s, seed=seed).samples)


@torch.inference_mode()
def whole(model: AsrModel, samples_N: Tensor, context: ChunkContext = CONTEXT) -> Tensor:
    """What the head gives of a recording (T, V), encoded at once."""
    features_BTF, lengths_B = model.frontend(samples_N[None], torch.tensor([len(samples_N)]))
    frames_BTD = model.encoder(features_BTF, lengths_B, (), context).frames_BTD
    outputs_BTV: Tensor = model.head(frames_BTD)
    return outputs_BTV[0]


def drained(encoder: StreamEncoder, streams: Sequence[AudioStream]) -> list[list[Tensor]]:
    """All blocks that are due, those of all streams encoded together."""
    found: list[list[Tensor]] = [[] for _ in streams]
    while due := [index for index, stream in enumerate(streams) if encoder.is_due(stream)]:
        outputs = encoder.step([streams[index] for index in due])
        for index, outputs_TX in zip(due, outputs, strict=True):
            found[index].append(outputs_TX)
    return found


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    cuts=st.lists(st.integers(0, round(SECONDS * SAMPLE_RATE_HZ)), max_size=8),
    context=st.builds(ChunkContext, st.integers(1, 60), st.integers(0, 9), st.integers(0, 3)),
)
def test_any_cut_of_the_audio_gives_the_whole(cuts: list[int], context: ChunkContext) -> None:
    model = tiny_model(streaming_config())
    encoder = StreamEncoder(model, context)
    stream, found = encoder.open(), []
    audio_N = samples(SECONDS)
    for piece in torch.tensor_split(audio_N, sorted(cuts)):
        stream.push(piece)
        found += drained(encoder, [stream])[0]
    stream.end()
    found += drained(encoder, [stream])[0]
    torch.testing.assert_close(
        torch.cat(found), whole(model, audio_N, context), atol=1e-4, rtol=1e-4
    )


def test_streams_of_all_lengths_side_by_side(model: AsrModel) -> None:
    """Some end while others begin; one has a single sample, one no audio at all."""
    encoder = StreamEncoder(model, CONTEXT)
    lengths_s = [1.0, 1 / SAMPLE_RATE_HZ, 0.05, 2.3, 0.4]
    audio = [samples(length_s, seed) for seed, length_s in enumerate(lengths_s)]
    audio.append(torch.zeros(0))
    streams = [encoder.open() for _ in audio]
    found: list[list[Tensor]] = [[] for _ in audio]
    for start in range(0, round(2.5 * SAMPLE_RATE_HZ), 700):
        for samples_N, stream in zip(audio, streams, strict=True):
            if len(piece := samples_N[start : start + 700]):
                stream.push(piece)
            elif not stream.has_ended:
                stream.end()
        for blocks, more in zip(found, drained(encoder, streams), strict=True):
            blocks += more
    for samples_N, blocks in zip(audio[:-1], found[:-1], strict=True):
        torch.testing.assert_close(torch.cat(blocks), whole(model, samples_N), atol=1e-4, rtol=1e-4)
    assert found[-1] == []


def test_a_saved_stream_goes_on_bit_for_bit(model: AsrModel) -> None:
    encoder = StreamEncoder(model, CONTEXT)
    first, audio_N = encoder.open(), samples(2.0)
    first.push(audio_N[:7001])
    drained(encoder, [first])
    file = io.BytesIO()
    torch.save(first.saved(), file)
    file.seek(0)
    second = encoder.restored(torch.load(file, weights_only=True))
    outputs = []
    for stream in (first, second):
        stream.push(audio_N[7001:])
        stream.end()
        outputs.append(torch.cat(drained(encoder, [stream])[0]))
    assert torch.equal(*outputs)
    other = StreamEncoder(model, ChunkContext(4, 8, 1))
    with pytest.raises(InputError, match="stream has other chunks"):
        other.restored(first.saved())


def test_what_a_stream_keeps_does_not_grow(model: AsrModel) -> None:
    encoder = StreamEncoder(model, CONTEXT)
    stream = encoder.open()
    sizes = set()
    for second in range(8):
        stream.push(samples(1.0, second))
        drained(encoder, [stream])
        kept = stream.encoder.stream_bytes() + stream.samples_N.nbytes + stream.features_TF.nbytes
        sizes.add(kept // 4096)
    assert len(sizes) <= 2
    assert encoder.latency_s == pytest.approx(4 * 0.04 + 0.015)


def test_a_length_becomes_frames_with_the_context_of_training(model: AsrModel) -> None:
    assert chunk_context(40, model) == ChunkContext(1, 8, 1)
    assert chunk_context(200.0, model) == ChunkContext(5, 8, 1)
    for length_ms, near in ((30, 40), (90, 80), (1, 40)):
        with pytest.raises(InputError, match=f"multiples of 40 ms.*such as {near}"):
            chunk_context(length_ms, model)


def test_models_that_need_whole_utterances_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="streaming needs a model trained in chunks"):
        chunk_context(40, tiny_model())
    with pytest.raises(InputError, match="normalises its features over whole utterances"):
        StreamEncoder(tiny_model(changed("encoder.chunk_frames", [4])), CONTEXT)
    config = streaming_config(chunk_frames=None)
    config["reuse"] = {"_target_": "asr.reuse.grouped.Grouped", "frames_per_group": 2}
    with pytest.raises(InputError, match="reuse=grouped attends over whole utterances"):
        StreamEncoder(tiny_model(config), CONTEXT)
    config["encoder"]["chunk_frames"] = [4]
    with pytest.raises(InputError, match="reuse=grouped attends over whole utterances"):
        tiny_model(config)
    other = load_recogniser(save_tiny_package(tmp_path / "model")).model
    with pytest.raises(InputError, match="normalises"):
        StreamEncoder(other, CONTEXT)


def test_the_statistics_of_the_features_are_part_of_the_package(tmp_path: Path) -> None:
    package = load_package(save_streaming_package(tmp_path / "model"))
    names = package.model.state_dict()
    assert "frontend.normalize.mean_F" in names
