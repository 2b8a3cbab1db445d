"""Checks of an ONNX graph before it runs, since a stranger's file may hold any graph.

A graph runs no foreign code, but it can loop forever, read files beside it, and make gigabytes out
of a few bytes. Operators with graphs or functions of their own are therefore refused, as are
domains other than ONNX's own and data outside the file. The rest takes as long as its nodes;
`asr.interop.onnx.file` limits its memory and time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from asr.errors import InputError

MAX_ONNX_BYTES = 2**31 - 1  # the limit of a protocol buffer
MAX_NODES = 100_000  # a Conformer of 17 layers has about 3,000
REFUSED = frozenset({"Loop", "Scan", "If", "SequenceMap", "Optional", "StringNormalizer"})


def check_graph(content: bytes, where: Path | str) -> None:
    """Raise InputError for a file that is not an ONNX graph, or that is refused."""
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise InputError(f"{where}: not an ONNX graph ({error})") from None
    domains = {one.domain for one in model.opset_import} | {one.domain for one in model.graph.node}
    if not domains <= {"", "ai.onnx"} or model.functions or not model.opset_import:
        raise InputError(f"{where}: only operators of ONNX itself are run")
    if len(model.graph.node) > MAX_NODES:
        raise InputError(f"{where}: {len(model.graph.node):,} nodes; allowed: up to {MAX_NODES:,}")
    for node in model.graph.node:
        if node.op_type in REFUSED or any(
            one.HasField("g") or one.graphs for one in node.attribute
        ):
            raise InputError(f"{where}: {node.op_type} is not run; allowed: nodes without loops")
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in _tensors(model.graph)):
        raise InputError(f"{where}: keeps data in other files, which are not read")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every constant."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
