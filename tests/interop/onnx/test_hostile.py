"""Files of strangers: refused in a line, within seconds and bounded memory."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from asr.errors import InputError
from asr.interop.onnx.export import Exported
from asr.interop.onnx.file import load_onnx, parse_onnx
from tests.mutations import mutated_bytes

LONGEST_S = 20.0  # on a machine with other work
MOST_MIB = 1200

Nodes = Sequence[NodeProto]
Constants = dict[str, list[int]]


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def said_of(content: bytes) -> str:
    """Empty where the file loads."""
    begun_s, before_mib = time.perf_counter(), peak_mib()
    try:
        parse_onnx(content, where="bad.onnx")
    except InputError as error:
        said = str(error)
        assert said.startswith("bad.onnx")
    else:
        said = ""
    assert "\n" not in said
    assert time.perf_counter() - begun_s < LONGEST_S
    assert peak_mib() - before_mib < MOST_MIB
    return said


def with_nodes(
    exported: Exported, nodes: Nodes, constants: Constants, output: str = "log_probs"
) -> bytes:
    """The model with nodes behind it that make ``output`` anew from ``old``."""
    model = onnx.load_from_string(exported.float32)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == output:
                    names[index] = "old"
    for name, values in constants.items():
        shape = [len(values)]
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, shape, values))
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def node(kind: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def adding(nodes: Nodes, name: str) -> Nodes:
    """``nodes``, the sum of whose last result is added to what the model gives."""
    total = node("ReduceMax", name, "total", keepdims=0)
    return [*nodes, total, node("Add", "old total", "log_probs")]


BILLIONS = [8_000_000_000]
EXPANDING: dict[str, tuple[Nodes, Constants]] = {
    "ConstantOfShape": (
        adding([node("ConstantOfShape", "size", "big")], "big"),
        {"size": BILLIONS},
    ),
    "Expand": (
        adding([node("Cast", "one", "f", to=1), node("Expand", "f size", "big")], "big"),
        {"one": [1], "size": BILLIONS},
    ),
    "Tile": (
        adding([node("Cast", "one", "f", to=1), node("Tile", "f size", "big")], "big"),
        {"one": [1], "size": BILLIONS},
    ),
    "Range": (
        adding(
            [
                *(node("Squeeze", name, f"{name}0") for name in ("zero", "size", "one")),
                node("Range", "zero0 size0 one0", "whole"),
                node("Cast", "whole", "big", to=1),
            ],
            "big",
        ),
        {"zero": [0], "one": [1], "size": BILLIONS},
    ),
    "Concat": (
        adding(
            [
                node("Cast", "one", "f0", to=1),
                *(node("Concat", f"f{i} f{i}", f"f{i + 1}", axis=0) for i in range(36)),
            ],
            "f36",
        ),
        {"one": [1]},
    ),
}


@pytest.mark.parametrize("kind", EXPANDING)
def test_constants_that_expand_to_gigabytes(exported: Exported, kind: str) -> None:
    assert "its graph cannot be run" in said_of(with_nodes(exported, *EXPANDING[kind]))


def test_a_loop(exported: Exported) -> None:
    body = helper.make_graph(
        [node("Identity", "going", "goes_on")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("goes_on", TensorProto.BOOL, [])],
    )
    loop = helper.make_node("Loop", ["", ""], [], body=body, name="loop")
    nodes = [node("Identity", "old", "log_probs"), loop]
    assert "Loop is not run" in said_of(with_nodes(exported, nodes, {}))


def test_a_graph_that_takes_too_long(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large products one after the other; the call ends between two of them."""
    monkeypatch.setattr("asr.interop.onnx.file.LEAST_LIMIT_S", 0.5)
    monkeypatch.setattr("asr.interop.onnx.file.LIMIT_PER_S", 0.0)
    nodes = [
        node("ConstantOfShape", "size", "m0"),
        *(node("MatMul", f"m{i} m0", f"m{i + 1}") for i in range(2000)),
    ]
    content = with_nodes(exported, adding(nodes, "m2000"), {"size": [1024, 1024]})
    assert "its graph ran longer than" in said_of(content)


@pytest.mark.parametrize(
    ("output", "nodes", "constants"),
    [
        ("log_probs", [node("Cast", "old", "log_probs", to=TensorProto.DOUBLE)], {}),
        ("log_probs", [node("Flatten", "old", "log_probs")], {}),
        ("log_probs", [node("Concat", "old old", "log_probs", axis=1)], {}),
        ("log_probs", [node("Concat", "old old", "log_probs", axis=0)], {}),
        ("log_probs", [node("Concat", "old old", "log_probs", axis=2)], {}),
        ("frame_lengths", [node("Cast", "old", "frame_lengths", to=TensorProto.INT32)], {}),
        ("frame_lengths", [node("Add", "old one", "frame_lengths")], {"one": [1]}),
        ("frame_lengths", [node("Neg", "old", "frame_lengths")], {}),
        ("frame_lengths", [node("Unsqueeze", "old zero", "frame_lengths")], {"zero": [0]}),
    ],
)
def test_outputs_of_another_type_rank_or_length(
    exported: Exported, output: str, nodes: Nodes, constants: Constants
) -> None:
    assert said_of(with_nodes(exported, nodes, constants, output))


def test_operators_of_others(exported: Exported) -> None:
    foreign = node("Identity", "old", "log_probs")
    foreign.domain = "com.microsoft"
    assert "only operators of ONNX" in said_of(with_nodes(exported, [foreign], {}))


def test_data_in_other_files(exported: Exported) -> None:
    model = onnx.load_from_string(exported.float32)
    constant = model.graph.initializer[0]
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="/etc/passwd")
    assert "keeps data in other files" in said_of(model.SerializeToString())


@pytest.mark.parametrize("kind", ["pipe", "folder", "sparse"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.onnx"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(20 << 30)
    with pytest.raises(InputError, match=r"bad\.onnx: "):
        load_onnx(path)


@pytest.mark.parametrize("seed", range(12))
def test_a_mutated_file_loads_or_is_refused_in_a_line(exported: Exported, seed: int) -> None:
    said_of(mutated_bytes(exported.float32, random.Random(seed)))
