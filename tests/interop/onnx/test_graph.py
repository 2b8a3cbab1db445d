"""The exported graph computes what the model computes, for any batch and length."""

from __future__ import annotations

import onnx
import pytest
import torch

from asr.errors import InputError
from asr.interop.onnx.file import Session
from asr.interop.onnx.graph import (
    FRAMES,
    LOG_PROBS,
    WAVEFORM_LENGTHS,
    WAVEFORMS,
    encoder_alone,
    export_graph,
)
from asr.model.asr_model import AsrModel
from tests.model.configs import random_waveforms, tiny_model

from .cases import many_methods, small

BATCHES = ([1], [200], [3000], [9000, 4000, 210], [24_001])


@pytest.fixture(scope="module")
def model() -> AsrModel:
    return tiny_model(many_methods())


@pytest.fixture(scope="module")
def graph(model: AsrModel) -> onnx.ModelProto:
    return export_graph(model)


@pytest.fixture(scope="module")
def session(graph: onnx.ModelProto) -> Session:
    return Session(graph.SerializeToString(), where="here", num_threads=1)


@pytest.mark.parametrize("lengths", BATCHES, ids=str)
def test_methods_for_any_batch_and_length(
    model: AsrModel, session: Session, lengths: list[int]
) -> None:
    waveforms_BN, lengths_B = random_waveforms(lengths)
    with torch.inference_mode():
        expected_BTV, expected_B = model(waveforms_BN, lengths_B)
        encoded = model.encoder(*model.frontend(waveforms_BN, lengths_B))
    inputs = {WAVEFORMS: waveforms_BN, WAVEFORM_LENGTHS: lengths_B}
    found_BTV, found_B, frames_BTD = session(inputs, [LOG_PROBS, "frame_lengths", FRAMES])
    assert torch.equal(found_B, expected_B)
    assert found_BTV.shape == expected_BTV.shape
    for row, length in enumerate(expected_B.tolist()):
        torch.testing.assert_close(
            found_BTV[row, :length], expected_BTV[row, :length], rtol=1e-3, atol=2e-3
        )
        torch.testing.assert_close(
            frames_BTD[row, :length], encoded.frames_BTD[row, :length], rtol=1e-3, atol=2e-3
        )


def test_silence_is_left_out_of_the_statistics_of_a_graph(
    model: AsrModel, session: Session
) -> None:
    waveforms_BN, lengths_B = random_waveforms([24_000, 16_000, 8_000])
    waveforms_BN[0, :15_000] = 0.0
    waveforms_BN[1, 9_000:] *= 1e-4
    waveforms_BN[2] = 0.0
    with torch.inference_mode():
        expected_BTV, _ = model(waveforms_BN, lengths_B)
    inputs = {WAVEFORMS: waveforms_BN, WAVEFORM_LENGTHS: lengths_B}
    found_BTV, frames_B = session(inputs, [LOG_PROBS, "frame_lengths"])
    for row, length in enumerate(frames_B.tolist()):
        torch.testing.assert_close(
            found_BTV[row, :length], expected_BTV[row, :length], rtol=1e-3, atol=2e-3
        )


def test_the_encoder_by_itself_is_exact(model: AsrModel, graph: onnx.ModelProto) -> None:
    part = encoder_alone(graph, model.frontend.num_mel_bins)
    assert len(part.graph.node) < len(graph.graph.node)
    session = Session(part.SerializeToString(), where="here", num_threads=1)
    features_BTF = torch.randn(2, 150, model.frontend.num_mel_bins)
    lengths_B = torch.tensor([150, 90])
    (found_BTD,) = session({"features": features_BTF, "feature_lengths": lengths_B}, [FRAMES])
    with torch.inference_mode():
        expected = model.encoder(features_BTF, lengths_B)
    for row, length in enumerate(expected.lengths_B.tolist()):
        torch.testing.assert_close(
            found_BTD[row, :length], expected.frames_BTD[row, :length], rtol=1e-4, atol=1e-4
        )


def test_the_graph_has_the_operators_of_onnx_alone(graph: onnx.ModelProto) -> None:
    onnx.checker.check_model(graph)
    assert [one.domain for one in graph.opset_import] == [""]
    assert not graph.functions


def test_what_cannot_be_exported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(small())

    def stubborn(waveforms_BN: torch.Tensor, lengths_B: torch.Tensor) -> None:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(model.frontend, "forward", stubborn)
    with pytest.raises(InputError, match=r"reuse=probs \(Conformer\) cannot be exported to ONNX"):
        export_graph(model)
