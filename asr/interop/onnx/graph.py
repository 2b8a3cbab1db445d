"""A model as an ONNX graph: waveforms to log probabilities, with variable batch size and length.

Front end and encoder are exported separately and joined at the features, whose names allow either
part to be extracted again.

Shape legend: B batch, N samples, T frames, F mel bins, D model width, V vocabulary.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import onnx
import torch
from onnx import compose
from torch import Tensor, nn

from asr.errors import InputError
from asr.model.asr_model import AsrModel

WAVEFORMS, WAVEFORM_LENGTHS = "waveforms", "waveform_lengths"
FEATURES, FEATURE_LENGTHS = "features", "feature_lengths"
LOG_PROBS, FRAME_LENGTHS, FRAMES = "log_probs", "frame_lengths", "frames"

_SAMPLE_FRAMES = 203  # of the traced batch; odd, so that its shape is unique


class Graphs(NamedTuple):
    """The graph from waveforms to features, and from features to log probabilities."""

    frontend: onnx.ModelProto
    encoder: onnx.ModelProto


class EncoderAndHead(nn.Module):
    """Encoder and head as one module."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.head = model.head

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log probabilities (B, T, V), lengths, frames (B, T, D) for features (B, T, F)."""
        encoded = self.encoder(features_BTF, lengths_B)
        return self.head(encoded.frames_BTD), encoded.lengths_B, encoded.frames_BTD


def export_graph(model: AsrModel) -> onnx.ModelProto:
    """Return the graph of ``model``, which must be in inference mode on the CPU.

    Inputs: ``waveforms`` (B, N) float32 in [-1, 1], zero after ``waveform_lengths`` (B,) int64.
    Outputs: ``log_probs`` (B, T, V), ``frame_lengths`` (B,), and the input of the head, ``frames``
    (B, T, D).

    Raises:
        InputError: the model has an operation that ONNX or its exporter lacks.
    """
    return join(Graphs(export_frontend(model), export_encoder(model)))


def export_frontend(model: AsrModel) -> onnx.ModelProto:
    """Return the part from ``waveforms`` to ``features``; see `export_graph`."""
    assert not model.training
    fbank = model.frontend.fbank
    samples_B = fbank.window_size + fbank.shift_size * (_sample_lengths() - 1)
    waveforms_BN = 0.1 * torch.randn(2, int(samples_B[0]), generator=torch.Generator())
    return _export(
        model.frontend,
        (waveforms_BN, samples_B),
        [WAVEFORMS, WAVEFORM_LENGTHS],
        [FEATURES, FEATURE_LENGTHS],
        _described(model),
    )


def export_encoder(model: AsrModel) -> onnx.ModelProto:
    """Return the part from ``features`` to ``log_probs`` and ``frames``; see `export_graph`."""
    assert not model.training
    features_BTF = torch.zeros(2, _SAMPLE_FRAMES, model.frontend.num_mel_bins)
    return _export(
        EncoderAndHead(model),
        (features_BTF, _sample_lengths()),
        [FEATURES, FEATURE_LENGTHS],
        [LOG_PROBS, FRAME_LENGTHS, FRAMES],
        _described(model),
    )


def _sample_lengths() -> Tensor:
    return torch.tensor([_SAMPLE_FRAMES, _SAMPLE_FRAMES * 3 // 4])


def _described(model: AsrModel) -> str:
    return f"a model with reuse={model.encoder.reuse.name} ({type(model.encoder).__name__})"


def join(graphs: Graphs) -> onnx.ModelProto:
    """Join the graphs; inner names of the front end get a prefix."""
    frontend = compose.add_prefix(
        graphs.frontend, "frontend/", rename_inputs=False, rename_outputs=False
    )
    joined: onnx.ModelProto = compose.merge_models(
        frontend,
        graphs.encoder,
        io_map=[(name, name) for name in (FEATURES, FEATURE_LENGTHS)],
        outputs=[LOG_PROBS, FRAME_LENGTHS, FRAMES],
    )
    versions = {(one.domain, one.version) for one in joined.opset_import}
    assert len(versions) == 1, "both parts come from one exporter"
    del joined.opset_import[1:]  # merging repeats it, which ONNX Runtime's quantisers refuse
    return joined


def nodes_between(
    graph: onnx.GraphProto, inputs: Collection[str], outputs: Iterable[str]
) -> list[onnx.NodeProto]:
    """Return the nodes that compute ``outputs`` from ``inputs`` and constants, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(name for name in node.input if name not in inputs)
    return kept[::-1]


def encoder_alone(model: onnx.ModelProto, num_mel_bins: int) -> onnx.ModelProto:
    """Return the part of a graph from ``features`` to ``frames``, for timing it alone."""
    nodes = nodes_between(model.graph, {FEATURES, FEATURE_LENGTHS}, [FRAMES])
    used = {name for node in nodes for name in node.input}
    part = onnx.helper.make_graph(
        nodes,
        "encoder",
        [
            onnx.helper.make_tensor_value_info(FEATURES, 1, ["B", "T", num_mel_bins]),
            onnx.helper.make_tensor_value_info(FEATURE_LENGTHS, 7, ["B"]),
        ],
        [output for output in model.graph.output if output.name == FRAMES],
        [constant for constant in model.graph.initializer if constant.name in used],
    )
    return onnx.helper.make_model(
        part, opset_imports=model.opset_import, ir_version=model.ir_version
    )


def _export(
    module: nn.Module,
    sample: tuple[Tensor, Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    what: str,
) -> onnx.ModelProto:
    open_size = torch.export.Dim.DYNAMIC
    shapes = ({0: open_size, 1: open_size}, {0: open_size})
    return export_module(
        module, sample, inputs=inputs, outputs=outputs, dynamic_shapes=shapes, what=what
    )


def export_module(
    module: nn.Module,
    sample: tuple[Any, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: Any,
    what: str,
) -> onnx.ModelProto:
    """Return the graph of a module, traced with ``sample``; errors name the module by ``what``.

    Raises:
        InputError: it has an operation that ONNX or its exporter lacks.
    """
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                module,
                sample,
                dynamo=True,
                verbose=False,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=dynamic_shapes,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise InputError(f"{what} cannot be exported to ONNX: {reason}") from error
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the exporter's messages."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
