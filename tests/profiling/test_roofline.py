from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.profiling import roofline
from asr.profiling.breakdown import ATTENTION, OTHER, Call, time_by_part
from asr.profiling.cost import multiply_adds
from asr.profiling.latency import Timing
from asr.profiling.roofline import (
    GEMM,
    TRIAD,
    Ceilings,
    Probing,
    RooflineProbe,
    RooflineSpec,
    Work,
    ceilings,
    gemm_share,
    probes,
    work_by_part,
)

SMALL = RooflineSpec(gemm_sizes=[32, 64], triad_mib=3, probe_ms=1e-6)
B, T, D = 2, 10, 8
FLOAT = 4  # bytes


class Layer(nn.Module):
    """A product, attention by one fused call, a sum, and room that is never filled."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D, 3 * D)
        self.attention = Attention()

    def forward(self, x_BTD: Tensor) -> Tensor:
        torch.empty(1000)
        y_BTD: Tensor = x_BTD + self.attention(self.linear(x_BTD))
        return y_BTD


class Attention(nn.Module):
    def forward(self, x_BTD: Tensor) -> Tensor:
        q, k, v = (x.unsqueeze(1) for x in x_BTD.chunk(3, -1))
        return nn.functional.scaled_dot_product_attention(q, k, v).squeeze(1)


def test_rates_are_amounts_over_times() -> None:
    probed = {GEMM: RooflineProbe(int, 4e9), TRIAD: RooflineProbe(int, 3e8)}
    found = ceilings(probed, {GEMM: 50.0, TRIAD: 30.0})
    assert found == Ceilings(gemm_gflop_per_s=80.0, bandwidth_gb_per_s=10.0)
    assert found.ridge == 8.0


def test_the_share_is_paired_round_by_round() -> None:
    """A round in which everything takes ten times as long leaves the share as it is."""
    probed = {GEMM: RooflineProbe(int, 4e9)}
    timings = {GEMM: Timing.from_samples([50.0, 500.0, 50.0])}
    encoder = Timing.from_samples([100.0, 1000.0, 100.0])
    assert gemm_share(3_000_000_000, encoder, probed, timings) == pytest.approx(0.75)


def test_probes_do_what_they_say() -> None:
    probed = probes(SMALL, num_threads=1)
    assert probed.keys() == {GEMM, TRIAD}
    product = probed[GEMM].run()
    assert isinstance(product, Tensor)
    assert probed[GEMM].amount in (2 * 32**3, 2 * 64**3)
    assert product.dtype == torch.float32
    sums = probed[TRIAD].run()
    assert isinstance(sums, Tensor)
    assert bool((sums == 1.5).all())
    assert probed[TRIAD].amount == 3 * sums.nbytes == pytest.approx(3 * 2**20, rel=1e-5)
    calls = {name: Call(Probing(probe), ()) for name, probe in probed.items()}
    times_ms = {name: sum(t.values()) for name, t in time_by_part(calls, {}, repeats=2).items()}
    assert ceilings(probed, times_ms).gemm_gflop_per_s > 0


def test_probes_have_the_dtype_in_use() -> None:
    product = probes(SMALL, dtype=torch.bfloat16)[GEMM].run()
    assert isinstance(product, Tensor)
    assert product.dtype == torch.bfloat16


def test_a_probe_is_repeated_until_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_turn(runs: Mapping[str, Callable[[], object]], **_: object) -> dict[str, Timing]:
        return {name: Timing.from_samples([3.0, 2.0, 30.0]) for name in runs}

    once = probes(SMALL)
    monkeypatch.setattr(roofline, "time_alternating", in_turn)
    longer = probes(replace(SMALL, probe_ms=10.0))
    assert longer[TRIAD].amount == 5 * once[TRIAD].amount
    assert longer[GEMM].amount in (5 * 2 * 32**3, 5 * 2 * 64**3)
    sums = longer[TRIAD].run()
    assert isinstance(sums, Tensor)
    assert bool((sums == 1.5).all())


def test_no_larger_product_is_tried_once_one_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    shapes = roofline._shapes

    def noted(size: int) -> Iterator[tuple[int, int, int]]:
        tried.append(size)
        return shapes(size)

    monkeypatch.setattr(roofline, "_shapes", noted)
    probes(RooflineSpec(gemm_sizes=[64, 32, 128], max_gemm_ms=1e-9, triad_mib=1, probe_ms=1))
    assert tried == [32]


def test_the_triad_is_larger_than_the_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for index, size in enumerate(["32K", "2048K", "30M"]):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    monkeypatch.setattr(roofline, "_CACHES", tmp_path)
    assert roofline._largest_cache_mib() == 30.0
    monkeypatch.setattr(roofline, "_FEWEST_MIB", 9.0)
    spec = RooflineSpec(gemm_sizes=[32], probe_ms=1e-6)
    assert probes(spec)[TRIAD].amount == pytest.approx(60 * 2**20, rel=1e-5)
    monkeypatch.setattr(roofline, "_CACHES", tmp_path / "nowhere")
    assert probes(spec)[TRIAD].amount == pytest.approx(9 * 2**20, rel=1e-5)


def test_work_is_told_apart_by_part() -> None:
    layer, x = Layer(), torch.randn(B, T, D)
    found = work_by_part(Call(layer, (x,)), {"linear": "feed-forward", "attention": ATTENTION})
    rows = B * T
    product = rows * D + 3 * D * D + 3 * D + rows * 3 * D  # input, weight, bias, output
    assert found["feed-forward"] == Work(macs=rows * D * 3 * D, num_bytes=FLOAT * product)
    assert found["fused attention"].macs == 2 * B * T * T * D
    assert found[OTHER] == Work(macs=0, num_bytes=3 * FLOAT * rows * D)
    assert sum(work.macs for work in found.values()) == multiply_adds(layer, x)


def test_a_tensor_has_no_more_bytes_than_its_memory() -> None:
    class Sum(nn.Module):
        def forward(self, row: Tensor) -> Tensor:
            return row.expand(50, D).sum()

    (work,) = work_by_part(Call(Sum(), (torch.randn(1, D),)), {}).values()
    assert work.num_bytes == FLOAT * (D + 1)


def test_intensity() -> None:
    assert Work(macs=6, num_bytes=4).intensity == 3.0
    assert Work(macs=0, num_bytes=0).intensity == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gemm_sizes": []}, r"metrics.roofline.gemm_sizes is \[\]; one or more values"),
        ({"gemm_sizes": [30, 64]}, r"gemm_sizes is \[30, 64\]; multiples of 4 allowed"),
        ({"max_gemm_ms": 0}, r"metrics.roofline.max_gemm_ms=0: allowed"),
        ({"probe_ms": 0}, r"metrics.roofline.probe_ms=0: allowed"),
        ({"triad_mib": -1}, r"metrics.roofline.triad_mib=-1: allowed"),
    ],
)
def test_spec_names_the_key(values: dict[str, float | list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RooflineSpec(**values)  # type: ignore[arg-type]
