"""An exported stream is the model block by block; forged ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from asr.decode.greedy import GreedyDecoder
from asr.decode.recogniser import load_recogniser
from asr.decode.stream_encoder import chunk_context
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.interop.onnx.stream_file import OnnxStream, load_exported
from asr.interop.onnx.stream_step import STREAM, ExportedStep
from asr.measure.exported import FLOAT32, INT8, TORCH
from asr.measure.exported_step import compare_steps
from asr.measure.samples import samples_of_noise
from asr.model.package import ModelPackage, load_package
from asr.nn.chunks import ChunkContext
from tests.decode.package import noise, save_tiny_package
from tests.decode.streams import streaming_config
from tests.model.configs import SAMPLE_RATE_HZ

CONTEXT = ChunkContext(5, 8, 1)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Two layers that share a map; tracing takes seconds a layer."""
    config = streaming_config(num_layers=2, subsampling_channels=16)
    return load_package(save_tiny_package(tmp_path_factory.mktemp("tiny") / "model", config))


@pytest.fixture(scope="module")
def exported(package: ModelPackage) -> ExportedStep:
    return ExportedStep(package, CONTEXT)


@pytest.fixture
def saved(exported: ExportedStep, tmp_path: Path) -> Path:
    path = tmp_path / "stream.onnx"
    path.write_bytes(exported.float32)
    return path


def test_the_text_is_that_of_the_model(package: ModelPackage, saved: Path) -> None:
    samples = noise(6.0).samples
    found = []
    for recogniser in (package, load_recogniser(saved)):
        transcriber = Transcriber(recogniser, GreedyDecoder(), stream=CONTEXT)
        found.append(transcriber.transcribe([(samples, SAMPLE_RATE_HZ), (samples[:9000], 8000)]))
    own, exported = found
    assert [one.text for one in exported] == [one.text for one in own]
    for one, other in zip(exported, own, strict=True):
        assert [word.start_s for word in one.words] == [word.start_s for word in other.words]
    assert own[0].text


def test_a_live_stream(saved: Path) -> None:
    stream = Transcriber(load_recogniser(saved), GreedyDecoder()).stream(200)
    results = stream.send(noise(3.0).samples, SAMPLE_RATE_HZ) + stream.finish()
    assert any(result.is_final for result in results)
    assert stream.latency_s == pytest.approx(0.255)


def test_frames_agree_block_by_block(package: ModelPackage, exported: ExportedStep) -> None:
    contents = {FLOAT32: exported.float32, INT8: exported.int8()}
    assert len(contents[INT8]) < len(contents[FLOAT32])
    samples = list(samples_of_noise(SAMPLE_RATE_HZ))
    rows = {
        row.runtime: row for row in compare_steps(package, contents, samples, CONTEXT, repeats=2)
    }
    assert rows.keys() == {TORCH, FLOAT32, INT8}
    assert rows[TORCH].agreement.relative == 0.0
    assert rows[FLOAT32].agreement.relative < 1e-4
    assert 0 < rows[INT8].agreement.relative < 0.1
    assert all(list(row.timings) == [pytest.approx(0.2)] for row in rows.values())


def test_other_chunks_and_whole_utterances_are_refused(saved: Path) -> None:
    model = load_recogniser(saved).model
    assert isinstance(model, OnnxStream)
    assert chunk_context(200, model) == CONTEXT
    with pytest.raises(InputError, match="chunks of 80 ms: this file was exported for 200 ms"):
        chunk_context(80, model)
    with pytest.raises(InputError, match="holds a stream: transcribe with --stream 200"):
        model(torch.zeros(1, 8000), torch.tensor([8000]))
    with pytest.raises(InputError, match="trained in chunks, or a file exported with --stream"):
        Transcriber(load_recogniser(saved), GreedyDecoder(), stream=ChunkContext(2, 8, 1))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("{", "encore.stream cannot be read"),
        ("[]", "encore.stream cannot be read"),
        ({"chunk_frames": 0}, "encore.stream: chunk_frames=0: allowed"),
        ({"chunk_frames": "5"}, "encore.stream: chunk_frames='5': allowed"),
        ({"left_frames": 1e9}, "encore.stream: left_frames"),
        ({"kept": [[8, -1]]}, "encore.stream: kept="),
        ({"kept": [[1_000_000, 1_000_000]]}, "a stream keeps more than"),
        ({"kept": 5}, "encore.stream: kept=5"),
        ({"kept": [[8, 16]]}, "its graph cannot be run"),
        ({"chunk_frames": 4}, "its graph"),
    ],
)
def test_forged_sizes_are_refused_in_a_line(
    exported: ExportedStep, tmp_path: Path, sizes: Any, message: str
) -> None:
    model = onnx.load_from_string(exported.float32)
    stored = {one.key: one.value for one in model.metadata_props}
    if isinstance(sizes, dict):
        sizes = json.dumps(json.loads(stored[STREAM]) | sizes)
    onnx.helper.set_model_props(model, {**stored, STREAM: sizes})
    path = tmp_path / "forged.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=message) as refused:
        load_exported(path)
    assert "\n" not in str(refused.value)


def test_a_graph_that_keeps_other_things_is_refused(exported: ExportedStep, tmp_path: Path) -> None:
    """Its frames are constants of another shape."""
    model = onnx.load_from_string(exported.float32)
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == "log_probs":
                node.output[index] = "log_probs_before"
    one = onnx.numpy_helper.from_array(np.zeros((2, 5, 3), np.float32), "log_probs_constant")
    model.graph.initializer.append(one)
    model.graph.node.append(
        onnx.helper.make_node("Identity", ["log_probs_constant"], ["log_probs"])
    )
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="its graph"):
        load_exported(path)
