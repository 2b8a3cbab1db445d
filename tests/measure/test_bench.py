from __future__ import annotations

from typing import Any

import pytest
import torch

from asr.errors import InputError
from asr.measure.encoders import (
    distinct_encoders,
    encoder_key,
    forward_pass,
    frame_shift_ms,
    random_features,
    replayed_passes,
    scheduled_layers,
)
from asr.measure.latency import EncoderCost, measure_encoders
from asr.model.build import build_encoder
from asr.profiling.cost import multiply_adds_by_part
from asr.profiling.latency import LatencySpec
from asr.types import EncoderOutput
from tests.encoder.recording import stand_in
from tests.model.configs import CONFIG, changed

NONE = {"_target_": "asr.reuse.none.NoReuse", "fused": True}
EXPLICIT = {"_target_": "asr.reuse.none.NoReuse", "fused": False}
SPEC = LatencySpec(lengths_s=[1.0, 0.3], batch_sizes=[1, 2], repeats=3, warmup=1, num_threads=1)


@pytest.fixture(scope="module")
def configs() -> dict[str, dict[str, Any]]:
    return {
        "none": changed("reuse", NONE),
        "explicit": changed("reuse", EXPLICIT),
        "pairs": CONFIG,
    }


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def costs(configs: dict[str, dict[str, Any]], said: list[str]) -> dict[str, EncoderCost]:
    with pytest.MonkeyPatch.context() as patch:  # memory takes its time, and has its own tests
        patch.setattr("asr.measure.alternation.peak_memory_mib", lambda run, device, warmup: 7.5)
        return measure_encoders(configs, SPEC, report=said.append)


def test_every_config_has_every_point(costs: dict[str, EncoderCost], said: list[str]) -> None:
    assert list(costs) == ["none", "explicit", "pairs"]
    for cost in costs.values():
        found = [(point.length_s, point.batch_size) for point in cost.latency]
        assert found == [(1.0, 1), (1.0, 2), (0.3, 1), (0.3, 2)]
        assert cost.macs.keys() == {"1", "0.3"}
        for point in cost.latency:
            assert 0 < point.median_ms <= point.p90_ms
            assert point.peak_memory_mib == 7.5
            assert point.num_rounds == 3
            assert point.baselines.keys() == {"fused", "explicit"}
            assert all(baseline.speedup > 0 for baseline in point.baselines.values())
    assert said == [
        line
        for length in ("1", "0.3")
        for line in (
            f"timing 3 encoders at {length} s, batch 1",
            f"timing 3 encoders at {length} s, batch 2",
            f"timing the parts of 3 encoders at {length} s",
        )
    ]


def test_time_by_part_tells_the_kernels_apart(costs: dict[str, EncoderCost]) -> None:
    common = {
        *("subsampling", "feed-forward", "convolution", "norms and residuals"),
        *("projections", "scores", "other"),
    }
    for cost in costs.values():
        assert cost.breakdown.keys() == {"1", "0.3"}
    for length in ("1", "0.3"):
        assert costs["none"].breakdown[length].keys() == common | {"fused attention"}
        for name in ("explicit", "pairs"):
            parts = costs[name].breakdown[length]
            assert parts.keys() == common | {"softmax", "mix"}
            assert all(ms > 0 for ms in parts.values())


def test_an_encoder_is_its_own_baseline(costs: dict[str, EncoderCost]) -> None:
    """One timing serves both, so the speed-up of no reuse over itself is exactly one."""
    for name, kernel in (("none", "fused"), ("explicit", "explicit")):
        for point in costs[name].latency:
            assert point.baselines[kernel].speedup == 1.0
            assert point.baselines[kernel].median_ms == point.median_ms


def test_runs_of_equal_dimensions_share_their_baselines(costs: dict[str, EncoderCost]) -> None:
    for point, own in zip(costs["pairs"].latency, costs["none"].latency, strict=True):
        assert point.baselines["fused"].median_ms == own.median_ms
        assert point.baselines["fused"].speedup != 1.0


def test_reuse_saves_parameters_and_multiply_adds(costs: dict[str, EncoderCost]) -> None:
    assert sum(costs["pairs"].parameters.values()) < sum(costs["none"].parameters.values())
    for length in ("1", "0.3"):
        none, pairs = (sum(costs[name].macs[length].values()) for name in ("none", "pairs"))
        assert pairs < none
        assert sum(costs["explicit"].macs[length].values()) == none


def test_multiply_adds_are_those_of_a_real_pass(costs: dict[str, EncoderCost]) -> None:
    encoder = build_encoder(CONFIG, 10)
    features = random_features(10, 1.0, 1, 10.0, "cpu")
    assert costs["pairs"].macs["1"] == multiply_adds_by_part(encoder, *features, depth=2)


def test_the_schedule_is_kept_layer_by_layer(costs: dict[str, EncoderCost]) -> None:
    schedule = costs["pairs"].schedule
    assert schedule == scheduled_layers(build_encoder(CONFIG, 10))
    assert [(row.role, row.leader) for row in schedule] == [
        ("lead", None), ("follow", 0), ("lead", None), ("follow", 2)
    ]  # fmt: skip
    assert schedule[1].parameters_saved > 0
    assert {row.role for row in costs["none"].schedule} == {"alone"}


def test_an_encoder_is_built_once() -> None:
    seeds = {"a": {**CONFIG, "seed": 0}, "b": {**CONFIG, "seed": 1}}
    assert len(distinct_encoders(seeds, "cpu")) == 3  # with its two baselines
    assert encoder_key(seeds["a"]) == encoder_key(seeds["b"])
    wide = {**seeds, "c": changed("encoder.d_model", 32)}
    assert len(distinct_encoders(wide, "cpu")) == 6


def test_cuda_graphs_are_recorded_before_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    said: list[str] = []
    encoders = distinct_encoders({"pairs": CONFIG}, "cpu")
    replayed = replayed_passes(encoders, 0.7, 2, "cpu", said.append)
    for key, (encoder, config) in encoders.items():
        expected = forward_pass(encoder, 0.7, 2, frame_shift_ms(config), "cpu")()
        found = replayed[key]()
        assert isinstance(found, EncoderOutput)
        assert isinstance(expected, EncoderOutput)
        assert torch.equal(found.lengths_B, expected.lengths_B)
        torch.testing.assert_close(found.frames_BTD, expected.frames_BTD, atol=1e-5, rtol=1e-5)

    (line,) = said
    assert line.startswith("recorded CUDA graphs of 3 encoders in ")


def test_cuda_graphs_need_cuda() -> None:
    spec = LatencySpec(lengths_s=[0.3], cuda_graphs=True)
    with pytest.raises(InputError, match=r"^metrics\.latency\.cuda_graphs=true: .* not cpu"):
        measure_encoders({"pairs": CONFIG}, spec)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_every_figure_on_cuda(dtype: str, cuda_graphs: bool) -> None:
    spec = LatencySpec(lengths_s=[1, 3], repeats=3, dtype=dtype, cuda_graphs=cuda_graphs)
    cost = measure_encoders({"pairs": CONFIG}, spec, device="cuda")["pairs"]
    for point in cost.latency:
        assert point.median_ms > 0
        assert point.peak_memory_mib is not None
        assert point.peak_memory_mib > 0
    assert sum(cost.breakdown["3"].values()) > 0


def test_features_are_the_same_every_time_and_without_padding() -> None:
    features_BTF, lengths_B = random_features(10, 2.5, 3, 10.0, "cpu")
    assert features_BTF.shape == (3, 250, 10)
    assert lengths_B.tolist() == [250] * 3
    assert torch.equal(features_BTF, random_features(10, 2.5, 3, 10.0, "cpu")[0])
    assert random_features(10, 0.001, 1, 10.0, "cpu")[0].shape[1] == 1
