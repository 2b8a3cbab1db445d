from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from asr.interop.onnx.export import Exported, encoder_session, quantise
from asr.interop.onnx.file import WEIGHT_BITS, Session
from asr.interop.onnx.graph import FEATURE_LENGTHS, FEATURES, FRAMES
from asr.model.package import ModelPackage


def one_node(
    kind: str, weight: np.ndarray, shape: list[int], **attributes: object
) -> onnx.ModelProto:
    """A graph whose encoder is one product with ``weight``, and a bias where it has room."""
    constants = [numpy_helper.from_array(weight.astype(np.float32), "weight")]
    inputs = [FEATURES, "weight"]
    if kind == "Conv":
        bias = np.linspace(-1, 1, len(weight), dtype=np.float32)
        constants.append(numpy_helper.from_array(bias, "bias"))
        inputs.append("bias")
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [FRAMES], name="product", **attributes)],
        "one",
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [None] * len(shape))],
        [helper.make_tensor_value_info(FRAMES, TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: torch.Tensor) -> torch.Tensor:
    (found,) = Session(model.SerializeToString(), where="here", num_threads=1)(
        {FEATURES: x}, [FRAMES]
    )
    return found


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert 1e-5 < float(error) < 0.02


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_a_product(kind: str) -> None:
    torch.manual_seed(1)
    weight = np.random.default_rng(0).normal(size=(48, 20)) * np.logspace(-2, 2, 20)
    weight[:, 3] = 0.0
    shape = [2, 7, 48] if kind == "MatMul" else [7, 48]
    model = (
        one_node(kind, weight, shape)
        if kind == "MatMul"
        else one_node(kind, weight.T.copy(), shape, transB=1)
    )
    quantised = quantise(model)
    assert kinds(model) == {kind: 1}
    assert kinds(quantised)["MatMulInteger"] == 1
    assert {one.data_type for one in quantised.graph.initializer} == {
        TensorProto.INT8,
        TensorProto.FLOAT,
    }
    x = torch.randn(shape)
    found, expected = run(quantised, x), run(model, x)
    for channel in (0, 10, 19):  # a scale each, though they differ by decades
        assert_near(found[..., channel], expected[..., channel])
    assert not found[..., 3].any()


@pytest.mark.parametrize(("bits", "largest"), [(7, 63), (8, 127)])
def test_pairs_of_products_stay_within_16_bits_unless_told_otherwise(
    bits: int, largest: int
) -> None:
    """What AVX2 sums: two inputs of up to 255, each by a weight."""
    weight = np.random.default_rng(0).normal(size=(48, 20))
    model = one_node("MatMul", weight, [7, 48])
    (stored,) = (
        numpy_helper.to_array(one)
        for one in quantise(model, bits).graph.initializer
        if one.data_type == TensorProto.INT8
    )
    assert np.abs(stored.astype(int)).max() == largest
    assert (2 * 255 * largest <= np.iinfo(np.int16).max) == (bits == 7)
    assert quantise(model) == quantise(model, 7)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (3, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("image", [(9, 12), (8, 7), (1, 1)])
def test_a_convolution(size: tuple[int, int], stride: int, image: tuple[int, int]) -> None:
    weight = np.random.default_rng(0).normal(size=(24, 16, *size))
    pads = [side // 2 for side in size] * 2
    model = one_node("Conv", weight, [2, 16, *image], strides=[stride, stride], pads=pads)
    quantised = quantise(model)
    assert "Conv" not in kinds(quantised)
    x = torch.randn(2, 16, *image) + 0.5
    assert_near(run(quantised, x), run(model, x))


@pytest.mark.parametrize(("channels", "group"), [(8, 1), (32, 32)])
def test_narrow_and_depthwise_convolutions_stay(channels: int, group: int) -> None:
    weight = np.ones((32, channels // group, 3, 3))
    model = one_node("Conv", weight, [1, channels, 5, 5], group=group)
    assert kinds(quantise(model)) == kinds(model)


def test_the_encoder_alone_is_quantised(package: ModelPackage, exported: Exported) -> None:
    whole, small = map(onnx.load_from_string, (exported.float32, exported.int8()))
    kept = {node.name for node in small.graph.node}
    assert all(node.name in kept for node in whole.graph.node if node.name.startswith("frontend/"))
    (head,) = (node for node in whole.graph.node if "log_probs" in node.output)
    assert head.name in kept
    assert kinds(small)["MatMulInteger"] >= 20
    stored = {one.key: one.value for one in whole.metadata_props}
    assert {one.key: one.value for one in small.metadata_props} == {**stored, WEIGHT_BITS: "7"}
    assert len(exported.int8()) < len(exported.float32)
    bins = package.model.frontend.num_mel_bins
    features_BTF, lengths_B = torch.randn(2, 160, bins), torch.tensor([160, 77])
    inputs = {FEATURES: features_BTF, FEATURE_LENGTHS: lengths_B}
    found, expected = (
        encoder_session(content, bins)(inputs, [FRAMES])[0]
        for content in (exported.int8(), exported.float32)
    )
    error = (found - expected)[0].square().mean().sqrt() / expected[0].square().mean().sqrt()
    assert 1e-4 < float(error) < 0.1
