"""Products in 8 bits: as far from exact ones as their steps allow, and never past an overflow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.nn import int8
from asr.nn.int8 import Int8Linear, has_vnni, packed_bytes, to_int8

pytestmark = pytest.mark.skipif(not int8.runs_int8(), reason="PyTorch was built without FBGEMM")


def steps(x: Tensor, weight_OI: Tensor) -> tuple[float, Tensor]:
    """What one step of the inputs and of each output's weights is worth."""
    levels = 255 if has_vnni() else 127
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    return (high - low) / levels, weight_OI.abs().amax(1) / 127


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_off_by_half_a_step_at_most(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(70, 33, bias=bias)
    x = torch.randn(2, 5, 70) + 0.5
    with torch.no_grad():
        linear.weight[3] = 0.0  # an output that has nothing to scale by
        error = (Int8Linear(linear)(x) - linear(x)).abs()
    step, step_O = steps(x, linear.weight.detach())
    # x + dx times w + dw, each off by half a step; the zero point is rounded to a step too.
    by_inputs = step * linear.weight.detach().abs().sum(1)
    by_weights = step_O / 2 * (x.abs().sum(-1, keepdim=True) + 70 * step)
    assert (error <= by_inputs + by_weights + 1e-5).all()
    assert error.max() > 0


def test_the_largest_products_do_not_overflow() -> None:
    linear = nn.Linear(64, 8, bias=False)
    x = torch.full((30, 64), 3.0)
    with torch.no_grad():
        linear.weight.fill_(2.0)
        torch.testing.assert_close(Int8Linear(linear)(x), linear(x), rtol=0.01, atol=0.0)
        linear.weight.fill_(-2.0)
        torch.testing.assert_close(Int8Linear(linear)(x), linear(x), rtol=0.01, atol=0.0)


def test_linear_layers_are_replaced() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.Linear(8, 4)), nn.LayerNorm(4))
    to_int8(module)
    kinds = [type(one) for one in module.modules()]
    assert kinds[1:] == [nn.Conv2d, nn.Sequential, Int8Linear, nn.LayerNorm]
    assert packed_bytes(module) == 8 * 4
    assert set(module.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^dtype int8: computes on the CPU, not on meta"):
        to_int8(nn.Linear(2, 2, device="meta"))
    monkeypatch.setattr(int8, "runs_int8", lambda: False)
    with pytest.raises(InputError, match=r"^dtype int8: this build of PyTorch has no products"):
        to_int8(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("found", "vnni"),
    [({}, False), ({"avx2": True}, False), ({"avx512_vnni": True}, True), ({"avx_vnni": 1}, True)],
)
def test_what_the_processor_says(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], vnni: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_vnni() is vnni
