"""A model package to the bytes of one ONNX file."""

from __future__ import annotations

import onnx

from asr.features.frontend import Frontend
from asr.model.onnx.file import metadata_of
from asr.model.onnx.graph import encoder_alone, export_graph
from asr.model.onnx.quantise import quantise
from asr.model.onnx.session import Session
from asr.model.package import ModelPackage


class Exported:
    """A package exported; ``float32`` and `int8` are files as bytes, one made from the other.

    Raises:
        InputError: see `export_graph`.
    """

    def __init__(self, package: ModelPackage) -> None:
        graph = export_graph(package.model)
        onnx.helper.set_model_props(graph, metadata_of(package))
        graph.producer_name = "encore-asr"
        graph.doc_string = describe(package.model.frontend)
        self._graph = graph

    @property
    def float32(self) -> bytes:
        """As precise as the package."""
        content: bytes = self._graph.SerializeToString()
        return content

    def int8(self, weight_bits: int = 7) -> bytes:
        """The encoder's products in 8 bits, see `quantise`."""
        content: bytes = quantise(self._graph, weight_bits).SerializeToString()
        return content


def describe(frontend: Frontend) -> str:
    """How the graph is used, for who finds the file alone."""
    return (
        f"Speech recogniser. waveforms: float32 (batch, samples) in [-1, 1] at "
        f"{frontend.sample_rate_hz} Hz, zero behind waveform_lengths (int64, samples). log_probs: "
        "(batch, frames, tokens) for CTC, valid up to frame_lengths; the metadata encore.pieces "
        "lists the tokens, of which 0 is the blank."
    )


def encoder_session(content: bytes, num_mel_bins: int) -> Session:
    """The encoder of an exported file by itself, from features to frames."""
    part = encoder_alone(onnx.load_from_string(content), num_mel_bins)
    return Session(part.SerializeToString(), where="encoder")
