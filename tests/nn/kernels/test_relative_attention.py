"""The kernel against plain relative attention, whose reference is a double loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.nn.kernels import support
from asr.nn.positions import Keys
from asr.nn.relative import RelativePositions
from tests.encoder.tiny import randomise

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 3e-3}

each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def check(
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    *,
    lengths: list[int],
    num_heads: int = 1,
    head_dim: int = 16,
    value_dim: int | None = None,
    dtype: torch.dtype = torch.float32,
    reach: int | None = None,
) -> None:
    """Valid rows of the kernel in ``dtype`` equal those of plain operations in float32."""
    num_frames, d_model = max(lengths), num_heads * head_dim
    module = RelativePositions(d_model=d_model, num_heads=num_heads, head_dim=head_dim)
    randomise(module)
    q_BHTK, k_BHTK, v_BHTV = (
        torch.randn(len(lengths), num_frames, num_heads, width).transpose(1, 2)
        for width in (head_dim, head_dim, value_dim or head_dim)
    )
    keys = module.keys(k_BHTK, RelativePositions.table(num_frames, d_model, num_heads, q_BHTK))
    assert keys.positions is not None
    padding = torch.arange(num_frames) >= torch.tensor(lengths).unsqueeze(1)
    padding_mask = padding if padding.any() else None

    def there(x: Tensor) -> Tensor:
        return x.to(device, dtype)

    with torch.no_grad():
        module.to(device)
        assert module.has_kernel(keys, there(v_BHTV))
        found = module.to(device, dtype).attend(
            there(q_BHTK),
            Keys(there(k_BHTK), there(keys.positions)),
            there(v_BHTV),
            None if padding_mask is None else padding_mask.to(device),
            0.0,
            reach=reach,
        )
        module.to("cpu", torch.float32)
        monkeypatch.setattr(support, "runs_here", lambda *_: False)
        expected = module.attend(q_BHTK, keys, v_BHTV, padding_mask, 0.0, reach=reach)

    assert found.dtype == dtype
    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            found[row, :, :length].float().cpu(),
            expected[row, :, :length],
            atol=TOLERANCE[dtype],
            rtol=TOLERANCE[dtype],
        )


@each_dtype
@pytest.mark.parametrize("lengths", [[1], [33, 1], [64], [97, 40]], ids=str)
def test_lengths(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, lengths: list[int], dtype: torch.dtype
) -> None:
    check(monkeypatch, device, lengths=lengths, dtype=dtype)


@each_dtype
@pytest.mark.parametrize(
    ("head_dim", "value_dim"), [(2, 2), (24, 24), (36, 144), (64, 64), (16, 80)]
)
def test_widths_that_fill_no_tile(
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    head_dim: int,
    value_dim: int,
    dtype: torch.dtype,
) -> None:
    check(
        monkeypatch,
        device,
        lengths=[40],
        num_heads=2,
        head_dim=head_dim,
        value_dim=value_dim,
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reach", [1, 32, 200])
def test_windows(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, reach: int, dtype: torch.dtype
) -> None:
    check(monkeypatch, device, lengths=[90, 5], dtype=dtype, reach=reach)


def test_a_row_that_sees_nothing_is_zero(device: torch.device) -> None:
    from asr.nn.kernels.relative_attention import relative_attention

    x_BHTK = torch.randn(2, 1, 5, 16, device=device)
    r_HKP = torch.randn(1, 16, 9, device=device)
    padding_mask = torch.tensor([[False] * 5, [True] * 5], device=device)
    bias_HK = torch.randn(1, 16, device=device)
    with torch.no_grad():
        context_BTHK = relative_attention(
            x_BHTK, x_BHTK, x_BHTK, r_HKP, bias_HK, bias_HK, padding_mask, None
        )

    assert (context_BTHK[0] != 0).all()
    assert (context_BTHK[1] == 0).all()


def test_scores_far_from_zero_stay_exact(device: torch.device) -> None:
    """The sum of exponentials of scores near 300 is no number of float32."""
    from asr.nn.kernels.relative_attention import relative_attention

    q_BHTK = torch.full((1, 1, 40, 16), 20.0, device=device)
    k_BHTK = torch.full((1, 1, 40, 16), 4.0, device=device)
    v_BHTK = torch.randn(1, 1, 40, 16, device=device)
    with torch.no_grad():
        context_BTHK = relative_attention(
            q_BHTK,
            k_BHTK,
            v_BHTK,
            torch.zeros(1, 16, 79, device=device),
            torch.zeros(1, 16, device=device),
            torch.zeros(1, 16, device=device),
            None,
            None,
        )

    mean_BTHK = v_BHTK.mean(2, keepdim=True).transpose(1, 2).expand_as(context_BTHK)
    torch.testing.assert_close(context_BTHK, mean_BTHK, atol=1e-5, rtol=1e-5)
