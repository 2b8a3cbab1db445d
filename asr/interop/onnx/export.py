"""A model package as one ONNX file, in float32 or with weights in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from asr.features.frontend import Frontend
from asr.interop.onnx.file import WEIGHT_BITS, Session, metadata_of
from asr.interop.onnx.graph import (
    FEATURE_LENGTHS,
    FEATURES,
    FRAMES,
    encoder_alone,
    export_graph,
    nodes_between,
)
from asr.model.package import ModelPackage

WEIGHT_LIMITS = {7: 63, 8: 127}
"""The largest weight by number of bits."""
LEAST_INPUTS = 16  # fewer input channels of a convolution are not worth it
_END = np.iinfo(np.int64).max


def quantise(model: onnx.ModelProto, weight_bits: int = 7) -> onnx.ModelProto:
    """Return a copy of an exported model whose encoder multiplies in 8 bits, weights in 7 or 8."""
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    _Quantiser(quantised.graph, WEIGHT_LIMITS[weight_bits]).run()
    return quantised


class _Quantiser:
    """Replaces the nodes of a graph one by one."""

    def __init__(self, graph: onnx.GraphProto, weight_limit: int) -> None:
        self.graph = graph
        self.weight_limit = weight_limit
        self.constants = {one.name: one for one in graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.scaled: dict[str, tuple[str, str, str]] = {}

    def run(self) -> None:
        """Replace every product of the encoder that can be replaced."""
        inside = nodes_between(self.graph, {FEATURES, FEATURE_LENGTHS}, [FRAMES])
        names = {node.name for node in inside}
        for node in self.graph.node:
            if node.name not in names or not self._replace(node):
                self.nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [one for name, one in self.constants.items() if name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        del self.graph.value_info[:]

    def _replace(self, node: onnx.NodeProto) -> bool:
        """Add the replacement of ``node``; return False if it stays."""
        weight = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        if weight is None:
            return False
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "MatMul" and len(weight.dims) == 2:
            self._product(node, self._scale(node.input[0]), numpy_helper.to_array(weight))
            return True
        if node.op_type == "Gemm" and attributes == {"transB": 1} and len(node.input) == 2:
            self._product(node, self._scale(node.input[0]), numpy_helper.to_array(weight).T)
            return True
        is_wide = len(weight.dims) == 4 and weight.dims[1] >= LEAST_INPUTS
        if node.op_type == "Conv" and attributes.get("group", 1) == 1 and is_wide:
            self._convolution(node, attributes, numpy_helper.to_array(weight))
            return True
        return False

    def _product(
        self, node: onnx.NodeProto, x: tuple[str, str, str], weight: NDArray[np.float32]
    ) -> None:
        """Multiply x (..., I) by weight (I, O), as the output of ``node``."""
        name, output = node.name, node.output[0]
        values, scale, zero = x
        peak = np.abs(weight).max(0).clip(np.finfo(np.float32).tiny)
        weight_scale = (peak / self.weight_limit).astype(np.float32)
        rounded = np.rint(weight / weight_scale).astype(np.int8)
        self._add(
            "MatMulInteger",
            [values, self._constant(rounded, name, "weight"), zero, ""],
            f"{name}/sum",
        )
        self._add("Cast", [f"{name}/sum"], f"{name}/float", to=onnx.TensorProto.FLOAT)
        self._add("Mul", [scale, self._constant(weight_scale, name, "scale")], f"{name}/scales")
        self._add("Mul", [f"{name}/float", f"{name}/scales"], output)

    def _convolution(
        self,
        node: onnx.NodeProto,
        attributes: dict[str, Sequence[int]],
        weight: NDArray[np.float32],
    ) -> None:
        """Convolve images (B, C, T, F) with weight (O, C, I, J), as the output of ``node``."""
        name = node.name
        sizes = weight.shape[2:]
        strides = list(attributes.get("strides", (1, 1)))
        pads = list(attributes.get("pads", (0, 0, 0, 0)))
        self._add("Transpose", [node.input[0]], f"{name}/last", perm=[0, 2, 3, 1])
        values, scale, zero = self._scale(f"{name}/last")
        if any(pads):
            around = np.array([0, *pads[:2], 0, 0, *pads[2:], 0], np.int64)
            self._add("Pad", [values, self._constant(around, name, "pads"), zero], f"{name}/padded")
            values = f"{name}/padded"
        axes = self._constant(np.array([1, 2], np.int64), name, "axes")
        steps = self._constant(np.array(strides, np.int64), name, "steps")
        neighbours = []
        for at in np.ndindex(*sizes):
            tap = f"{name}/{at[0]}{at[1]}"
            behind = [index - size + 1 for index, size in zip(at, sizes, strict=True)]
            ends = np.array([one or _END for one in behind], np.int64)
            bounds = [np.array(at, np.int64), ends]
            named = [
                self._constant(one, tap, end)
                for one, end in zip(bounds, ("from", "to"), strict=True)
            ]
            self._add("Slice", [values, *named, axes, steps], tap)
            neighbours.append(tap)
        self._add("Concat", neighbours, f"{name}/side_by_side", axis=3)
        rows = weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
        product = helper.make_node("MatMul", [], [f"{name}/product"], name=f"{name}/MatMul")
        self._product(product, (f"{name}/side_by_side", scale, zero), rows)
        with_bias = f"{name}/product"
        if len(node.input) > 2:
            with_bias = f"{name}/with_bias"
            self._add("Add", [f"{name}/product", node.input[2]], with_bias)
        self._add("Transpose", [with_bias], node.output[0], perm=[0, 3, 1, 2])

    def _scale(self, name: str) -> tuple[str, str, str]:
        """Return a tensor in uint8, its scale and its zero point, computed only once."""
        if name not in self.scaled:
            outputs = (f"{name}/uint8", f"{name}/scale", f"{name}/zero")
            self.nodes.append(
                helper.make_node("DynamicQuantizeLinear", [name], outputs, name=f"{name}/scaling")
            )
            self.scaled[name] = outputs
        return self.scaled[name]

    def _constant(self, values: NDArray[np.generic], *path: str) -> str:
        name = "/".join(path)
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> None:
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **attributes)
        )


class ExportedGraph:
    """A graph as bytes of a file: ``float32``, and ``int8`` made from it."""

    def __init__(self, graph: onnx.ModelProto, metadata: dict[str, str], text: str) -> None:
        onnx.helper.set_model_props(graph, metadata)
        graph.producer_name = "encore-asr"
        graph.doc_string = text
        self._graph = graph

    @property
    def float32(self) -> bytes:
        """The file in the precision of the package."""
        content: bytes = self._graph.SerializeToString()
        return content

    def int8(self, weight_bits: int = 7) -> bytes:
        """Return the file with the encoder's products in 8 bits, see `quantise`."""
        graph = quantise(self._graph, weight_bits)
        entry = graph.metadata_props.add()
        entry.key, entry.value = WEIGHT_BITS, str(weight_bits)
        content: bytes = graph.SerializeToString()
        return content


class Exported(ExportedGraph):
    """An exported package.

    Raises:
        InputError: see `export_graph`.
    """

    def __init__(self, package: ModelPackage) -> None:
        graph = export_graph(package.model)
        super().__init__(graph, metadata_of(package), usage_text(package.model.frontend))


def usage_text(frontend: Frontend) -> str:
    """Describe how to use the graph, for readers who have only the file."""
    return (
        f"Speech recogniser. waveforms: float32 (batch, samples) in [-1, 1] at "
        f"{frontend.sample_rate_hz} Hz, zero after waveform_lengths (int64, samples). log_probs: "
        "(batch, frames, tokens) for CTC, valid up to frame_lengths; the metadata encore.pieces "
        "lists the tokens, of which 0 is the blank."
    )


def encoder_session(content: bytes, num_mel_bins: int) -> Session:
    """Return a session of the encoder alone, from features to frames."""
    part = encoder_alone(onnx.load_from_string(content), num_mel_bins)
    return Session(part.SerializeToString(), where="encoder")
