from __future__ import annotations

import itertools
import time

import pytest
import torch
from torch import Tensor, nn

from asr.profiling import breakdown
from asr.profiling.attention_steps import mixing, scoring
from asr.profiling.breakdown import ATTENTION, OTHER, Call, time_by_part
from asr.profiling.latency import time_alternating

PARTS = {"layers": "sums", "layers.inner": "inner", "layers.attention": ATTENTION}
T, D = 6, 4


class Attention(nn.Module):
    """One head."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(D, D, bias=False)

    def forward(self, x_TD: Tensor) -> Tensor:
        q_TD = self.query(x_TD)
        with scoring:
            scores_TT = q_TD @ x_TD.T
        probs_TT = scores_TT.softmax(-1)
        with mixing:
            context_TD: Tensor = probs_TT @ x_TD
        return context_TD


class Layer(nn.Module):
    """An inner module, attention, a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Dropout(0.5))
        self.attention = Attention()

    def forward(self, x_TD: Tensor) -> Tensor:
        y_TD: Tensor = self.inner(x_TD) + self.attention(x_TD)
        return y_TD


class Model(nn.Module):
    """Some layers, and an operation of its own."""

    def __init__(self, num_layers: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(num_layers))

    def forward(self, x_TD: Tensor) -> Tensor:
        for layer in self.layers:
            x_TD = layer(x_TD)
        return x_TD.exp()


@pytest.fixture
def _one_ms_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on by one millisecond whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(breakdown, "clock_ms", lambda device: float(next(ticks)))


@pytest.mark.usefixtures("_one_ms_each")
def test_every_operation_is_charged_once() -> None:
    times_ms = time_by_part({"x": Call(Model(), (torch.randn(T, D),))}, PARTS, repeats=3)["x"]
    assert times_ms == {
        "inner": 3 * 2,  # product and ReLU; no dropout in evaluation
        "projections": 3,
        "scores": 3,
        "softmax": 3,
        "mix": 3,
        "sums": 3,
        OTHER: 1,
    }


@pytest.mark.usefixtures("_one_ms_each")
def test_modules_alternate_and_keep_their_own_times() -> None:
    ran: list[str] = []

    class Noted(Model):
        def forward(self, x_TD: Tensor) -> Tensor:
            ran.append(str(len(self.layers)))
            return super().forward(x_TD)

    x_TD = torch.randn(T, D)
    calls = {"one": Call(Noted(1), (x_TD,)), "two": Call(Noted(2), (x_TD,))}
    times_ms = time_by_part(calls, PARTS, repeats=2, warmup=1)
    assert "".join(ran) == "12" * 3
    assert [times_ms[name]["softmax"] for name in calls] == [1, 2]


def test_the_median_over_rounds_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([0, 1, 0, 50, 0, 3])
    monkeypatch.setattr(breakdown, "clock_ms", lambda device: float(next(steps)))
    times_ms = time_by_part({"x": Call(nn.ReLU(), (torch.randn(T),))}, {}, repeats=3)
    assert times_ms == {"x": {OTHER: 3.0}}


def test_no_round_begins_when_the_time_is_over() -> None:
    counted = nn.ReLU()
    runs: list[object] = []
    counted.register_forward_hook(lambda *args: runs.append(args))
    time_by_part({"x": Call(counted, (torch.randn(T),))}, {}, repeats=9, max_point_s=1e-9)
    assert len(runs) == 1


def test_the_sum_of_parts_is_the_time_of_the_call() -> None:
    took_ms: list[float] = []

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Linear(768, 768), nn.Linear(768, 192)

        def forward(self, x: Tensor) -> Tensor:
            start_ns = time.perf_counter_ns()
            y: Tensor = self.small(self.large(x))
            took_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
            return y

    call = Call(Wide(), (torch.randn(1000, 768),))
    parts = {"large": "large", "small": "small"}
    rounds = [time_by_part({"x": call}, parts, repeats=1)["x"] for _ in range(9)]
    shares = [sum(found.values()) / ms for found, ms in zip(rounds, took_ms, strict=True)]
    assert max(shares) <= 1.0
    assert max(shares) > 0.9
    assert max(found["large"] / found["small"] for found in rounds) > 2  # it is four times as wide


def test_the_result_is_the_same_and_nothing_is_left() -> None:
    model = Model()
    x_TD = torch.randn(T, D)
    model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    outputs: list[Tensor] = []
    hook = model.register_forward_hook(lambda module, args, output: outputs.append(output))
    time_by_part({"x": Call(model, (x_TD,))}, PARTS, repeats=1)
    hook.remove()
    assert [module.training for module in model.modules()] == modes
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(outputs[0], model.eval()(x_TD))


@pytest.mark.gpu
def test_cuda_work_is_waited_for() -> None:
    linear = nn.Linear(8192, 8192, device="cuda")
    x = torch.randn(8192, 8192, device="cuda")

    def plain() -> None:
        with torch.inference_mode():
            linear(x)

    whole = time_alternating({"x": plain}, repeats=5, warmup=2, device="cuda")["x"]
    times_ms = time_by_part({"x": Call(linear, (x,))}, {}, repeats=5, device="cuda")["x"]
    assert sum(times_ms.values()) == pytest.approx(whole.median_ms, rel=0.3)
