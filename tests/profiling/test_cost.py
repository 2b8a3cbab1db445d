from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from asr.profiling.cost import count_parameters, multiply_adds, multiply_adds_by_part

DEVICES = ["cpu", "meta"]
B, H, T, K = 2, 4, 50, 16


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Tensor:
        return self.function(*args)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mask", [None, torch.bool, torch.float32])
@pytest.mark.parametrize("value_size", [K, 3 * K])
def test_fused_attention(device: str, mask: torch.dtype | None, value_size: int) -> None:
    q = torch.randn(B, H, T, K, device=device)
    v = torch.randn(B, H, T, value_size, device=device)
    attn_mask = None if mask is None else torch.ones(B, 1, T, T, dtype=mask, device=device)
    attend = Call(lambda q, v: F.scaled_dot_product_attention(q, q, v, attn_mask=attn_mask))
    assert multiply_adds(attend, q, v) == B * H * T * T * (K + value_size)


def test_fused_attention_counts_as_explicit_attention_does() -> None:
    q = torch.randn(B, H, T, K)
    explicit = Call(lambda q: torch.softmax(q @ q.transpose(-1, -2), dim=-1) @ q)
    fused = Call(lambda q: F.scaled_dot_product_attention(q, q, q))
    assert multiply_adds(explicit, q) == multiply_adds(fused, q) == 2 * B * H * T * T * K


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Linear(16, 32), (B, T, 16), B * T * 16 * 32),
        (nn.Linear(16, 32, bias=False), (B, T, 16), B * T * 16 * 32),
        (nn.Conv1d(8, 12, 5, padding=2), (B, 8, T), B * T * 5 * 8 * 12),
        (nn.Conv1d(8, 12, 5, padding=2, groups=4), (B, 8, T), B * T * 5 * 2 * 12),
        (nn.Conv1d(8, 8, 31, padding=15, groups=8), (B, 8, T), B * T * 31 * 8),
        (nn.Conv1d(8, 8, 3, stride=2), (B, 8, 51), B * 25 * 3 * 8 * 8),
        (nn.Conv2d(1, 8, 3, stride=2), (B, 1, 21, 41), B * 10 * 20 * 9 * 8),
        (nn.Conv2d(8, 8, 3, groups=8), (B, 8, 12, 12), B * 10 * 10 * 9 * 8),
        (nn.LayerNorm(16), (B, T, 16), 0),
        (nn.Softmax(-1), (B, T, 16), 0),
    ],
)
def test_modules(device: str, module: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert multiply_adds(module.to(device), torch.zeros(shape, device=device)) == expected
    module.to_empty(device="cpu")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (torch.matmul, [(B, H, T, K), (B, H, K, 7)], B * H * T * K * 7),
        (torch.matmul, [(B, T, K), (K, 7)], B * T * K * 7),
        (torch.bmm, [(B, T, K), (B, K, 7)], B * T * K * 7),
        (torch.baddbmm, [(B, T, 7), (B, T, K), (B, K, 7)], B * T * K * 7),
        (torch.addbmm, [(T, 7), (B, T, K), (B, K, 7)], B * T * K * 7),
        (torch.addmm, [(7,), (T, K), (K, 7)], T * K * 7),
        (torch.mv, [(T, K), (K,)], T * K),
        (torch.addmv, [(T,), (T, K), (K,)], T * K),
        (torch.dot, [(K,), (K,)], K),
        (lambda a, b: torch.einsum("bhtk,hks->bths", a, b), [(B, H, T, K), (H, K, 7)], 44800),
        (torch.add, [(T, K), (T, K)], 0),
    ],
)
def test_products(
    device: str, function: Callable[..., Tensor], shapes: list[tuple[int, ...]], expected: int
) -> None:
    tensors = [torch.zeros(shape, device=device) for shape in shapes]
    assert multiply_adds(Call(function), *tensors) == expected


@pytest.mark.parametrize("device", DEVICES)
def test_multi_head_attention(device: str) -> None:
    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True, device=device)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.attention(x, x, x, need_weights=False)[0]
            return y

    expected = B * T * 16 * 16 * 4 + 2 * B * T * T * 16
    assert multiply_adds(SelfAttention(), torch.zeros(B, T, 16, device=device)) == expected


def test_weighted_rows() -> None:
    rows, weights = torch.randn(T, K), torch.rand(B * T, 3)
    indices = torch.randint(0, T, (B * T, 3))
    mix = Call(lambda w: F.embedding_bag(indices, rows, per_sample_weights=w, mode="sum"))
    assert multiply_adds(mix, weights) == B * T * 3 * K


class Layer(nn.Module):
    """Two products of its parts and one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Dropout(0.5))
        self.feed_forward = nn.Linear(8, 4)
        self.weight_own = nn.Parameter(torch.zeros(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.feed_forward(self.attention(x)) @ self.weight_own
        return y


class Model(nn.Module):
    """Three layers and a head; nothing of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        y: Tensor = self.head(x)
        return y


def test_parts_at_depth_one() -> None:
    model = Model()
    assert count_parameters(model) == {"layers": 3 * (64 + 36 + 32), "head": 45}
    assert multiply_adds_by_part(model, torch.zeros(10, 8)) == {
        "layers": 3 * 10 * (64 + 32 + 32),
        "head": 10 * 40,
    }


def test_layers_of_a_stack_add_up_at_depth_two() -> None:
    model = Model()
    assert count_parameters(model, depth=2) == {
        "layers": 3 * 32,
        "layers.attention": 3 * 64,
        "layers.feed_forward": 3 * 36,
        "head": 45,
    }
    assert multiply_adds_by_part(model, torch.zeros(10, 8), depth=2) == {
        "layers.attention": 3 * 640,
        "layers.feed_forward": 3 * 320,
        "layers": 3 * 320,
        "head": 400,
    }


def test_what_a_module_owns_itself() -> None:
    assert count_parameters(nn.Linear(3, 2)) == {"own": 8}
    assert multiply_adds_by_part(nn.Linear(3, 2), torch.zeros(5, 3)) == {"own": 30}


def test_shared_parameters_count_once() -> None:
    model = Model()
    model.layers[1] = model.layers[0]
    assert count_parameters(model)["layers"] == 2 * (64 + 36 + 32)
    assert multiply_adds(model, torch.zeros(10, 8)) == 3 * 10 * 128 + 400


def test_parameters_add_up() -> None:
    model = Model()
    assert sum(count_parameters(model, depth=3).values()) == sum(
        p.numel() for p in model.parameters()
    )


def test_counting_leaves_no_trace() -> None:
    model = Model()
    model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    multiply_adds(model, torch.zeros(2, 8))
    assert [module.training for module in model.modules()] == modes
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_counting_a_failing_call_leaves_no_trace() -> None:
    model = Model()
    with pytest.raises(RuntimeError):
        multiply_adds(model, torch.zeros(2, 9))
    assert model.training
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
