"""Steps of attention, written in the ways in which programs write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from asr.metrics.attention_steps import FUSED, MIX, PROJECTIONS, SCORES, SOFTMAX, AttentionSteps

B, H, T, K = 2, 2, 12, 4
D = H * K


class Projections(nn.Module):
    """Projections for the functions below."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("query", "key", "value", "output"):
            self.add_module(name, nn.Linear(D, D))
        self.bias_HK = nn.Parameter(torch.randn(H, K))

    def heads(self, name: str, x_BTD: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(name)(x_BTD)
        return y.view(B, -1, H, K).transpose(1, 2)

    def out(self, x_BHTK: Tensor) -> Tensor:
        y: Tensor = self.get_submodule("output")(x_BHTK.transpose(1, 2).flatten(2))
        return y


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The step of every operation that is no view, with its name."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps = AttentionSteps(module)
        self.found: list[tuple[str, str]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if not func.is_view:
            step = self.steps.step(func, (args, kwargs), outputs)
            self.found.append((func.overloadpacket.__name__, step))
        return outputs


Attention = Callable[[Projections, Tensor], Tensor]


def steps_of(attention: Attention) -> list[tuple[str, str]]:
    module = Projections()
    x_BTD = torch.randn(B, T, D)
    recorder = Recorder(module)
    with torch.no_grad(), recorder:
        attention(module, x_BTD)
    return recorder.found


def in_turn(found: list[tuple[str, str]]) -> list[str]:
    """The steps, as they first came."""
    return list(dict.fromkeys(step for _, step in found))


def scores_of(p: Projections, x: Tensor) -> Tensor:
    return (p.heads("query", x) + p.bias_HK.unsqueeze(1)) @ p.heads("key", x).transpose(-1, -2)


def explicit(p: Projections, x: Tensor) -> Tensor:
    v = p.heads("value", x)
    scores = scores_of(p, x).masked_fill(torch.zeros(T, dtype=torch.bool), -1.0)
    return p.out(scores.softmax(-1) @ v)


def in_place(p: Projections, x: Tensor) -> Tensor:
    v = p.heads("value", x)
    scores = scores_of(p, x)
    scores += 1.0
    return p.out(torch.softmax(scores, -1, out=scores) @ v)


def half(p: Projections, x: Tensor) -> Tensor:
    v = p.heads("value", x)
    probs = functional.dropout(scores_of(p, x).softmax(-1).bfloat16(), 0.5)
    return p.out((probs @ v.bfloat16()).float())


def separate_heads(p: Projections, x: Tensor) -> Tensor:
    v = p.heads("value", x)
    scores = scores_of(p, x)
    maps = [scores[:, :1].softmax(-1), scores[:, 1:].softmax(-1)]
    return p.out(torch.cat(maps, 1) @ v)


def top_rows(p: Projections, x: Tensor) -> Tensor:
    v = p.heads("value", x)
    weights, indices = scores_of(p, x).softmax(-1).topk(3)
    weights = weights / weights.sum(-1, keepdim=True)
    rows = v.unsqueeze(2).expand(-1, -1, T, -1, -1).gather(
        3, indices.unsqueeze(-1).expand(-1, -1, -1, -1, K)
    )  # fmt: skip
    return p.out((weights.unsqueeze(-1) * rows).sum(3))


@pytest.mark.parametrize("attention", [explicit, in_place, half, separate_heads, top_rows])
def test_explicit_attention(attention: Attention) -> None:
    found = steps_of(attention)
    assert in_turn(found) == [PROJECTIONS, SCORES, SOFTMAX, MIX]
    products = {step for name, step in found if name == "bmm"}
    assert products == ({SCORES} if attention is top_rows else {SCORES, MIX})
    assert {step for name, step in found if name == "addmm"} == {PROJECTIONS}


def test_tiles_alternate() -> None:
    def attention(p: Projections, x: Tensor) -> Tensor:
        q, k, v = (p.heads(name, x) for name in ("query", "key", "value"))
        tiles = [(tile @ k.transpose(-1, -2)).softmax(-1) @ v for tile in torch.split(q, 4, 2)]
        return p.out(torch.cat(tiles, 2))

    found = steps_of(attention)
    made = [(name, step) for name, step in found if name in ("bmm", "_softmax", "cat")]
    tile = [("bmm", SCORES), ("_softmax", SOFTMAX), ("bmm", MIX)]
    assert made == [*tile * 3, ("cat", MIX)]


@pytest.mark.parametrize("with_bias", [False, True])
def test_fused_attention_and_its_bias(with_bias: bool) -> None:
    def attention(p: Projections, x: Tensor) -> Tensor:
        q, k, v = (p.heads(name, x) for name in ("query", "key", "value"))
        bias = q @ q.transpose(-1, -2) if with_bias else None
        return p.out(functional.scaled_dot_product_attention(q, k, v, attn_mask=bias))

    scores = [SCORES] * with_bias
    assert in_turn(steps_of(attention)) == [PROJECTIONS, *scores, FUSED]


def test_attention_that_is_no_kernel_shows_its_steps() -> None:
    def attention(p: Projections, x: Tensor) -> Tensor:
        q, k, v = (p.heads(name, x) for name in ("query", "key", "value"))
        kernel = torch.nn.attention.SDPBackend.MATH
        with torch.nn.attention.sdpa_kernel(kernel):
            return p.out(functional.scaled_dot_product_attention(q, k, v))

    found = dict(steps_of(attention))
    assert found["_safe_softmax"] == SOFTMAX
    assert {SCORES, MIX} == {step for name, step in steps_of(attention) if name == "bmm"}


def test_linear_attention_mixes_without_a_softmax() -> None:
    def attention(p: Projections, x: Tensor) -> Tensor:
        q, k = (functional.elu(p.heads(name, x)) + 1 for name in ("query", "key"))
        summary = k.transpose(-1, -2) @ p.heads("value", x)
        return p.out(q @ summary)

    assert in_turn(steps_of(attention)) == [PROJECTIONS, SCORES, MIX]


def test_a_map_of_another_layer_is_still_a_map() -> None:
    """A follower asks for nothing but the mix, and corrected scores stay scores."""
    module = Projections()
    x = torch.randn(B, T, D)
    with torch.no_grad(), Recorder(module) as recorder:
        scores = scores_of(module, x)
        probs = scores.softmax(-1)
        recorder.found.clear()
        module.out(probs @ module.heads("value", x))
        assert in_turn(recorder.found) == [PROJECTIONS, MIX]
        recorder.found.clear()
        module.out((scores + 1.0).softmax(-1) @ module.heads("value", x))
        assert in_turn(recorder.found) == [SCORES, SOFTMAX, PROJECTIONS, MIX]


def test_memory_that_is_used_again_is_forgotten() -> None:
    memory = torch.ones(T, T)
    steps = AttentionSteps(nn.Identity())
    steps.step(torch.ops.aten._softmax.default, (), memory)
    assert steps.step(torch.ops.aten.mm.default, memory, torch.ones(1)) == MIX
    steps.forget(memory)
    assert steps.step(torch.ops.aten.mm.default, memory, torch.ones(1)) == SCORES
