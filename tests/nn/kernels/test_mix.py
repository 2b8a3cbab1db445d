"""The kernel for a map in half precision against the plain product."""

from __future__ import annotations

import pytest
import torch

from asr.nn.attention import ValueMix
from asr.nn.kernels import support
from tests.encoder.tiny import randomise

B, H = 2, 2

each_map_dtype = pytest.mark.parametrize("map_dtype", support.HALF, ids=str)


@each_map_dtype
@pytest.mark.parametrize("dtype", [None, torch.float32], ids=["of-the-map", "float32"])
@pytest.mark.parametrize(("num_frames", "head_dim"), [(1, 4), (16, 64), (67, 24)])
def test_outputs(
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    num_frames: int,
    head_dim: int,
    dtype: torch.dtype | None,
    map_dtype: torch.dtype,
) -> None:
    dtype = map_dtype if dtype is None else dtype
    mix = ValueMix(d_model=H * head_dim, num_heads=H, head_dim=head_dim, dropout=0.1).eval()
    randomise(mix)
    x_BTD = torch.randn(B, num_frames, H * head_dim)
    probs_BHTT = torch.randn(B, H, num_frames, num_frames).mul(3).softmax(-1).to(map_dtype)
    calls: list[torch.Tensor] = []

    with torch.no_grad():
        mix.to(device, dtype)
        monkeypatch.setattr(mix, "project", calls.append)  # plain operations begin with it
        found = mix(x_BTD.to(device, dtype), probs_BHTT.to(device))
        monkeypatch.undo()
        mix.to("cpu", torch.float32)
        monkeypatch.setattr(support, "runs_here", lambda *_: False)
        expected = mix(x_BTD, probs_BHTT.float())

    assert not calls
    assert found.dtype == dtype
    tolerance = 0.03 if map_dtype == torch.bfloat16 else 4e-3
    torch.testing.assert_close(found.float().cpu(), expected, atol=tolerance, rtol=tolerance)


@each_map_dtype
def test_sums_are_in_full_precision(device: torch.device, map_dtype: torch.dtype) -> None:
    """A map and values that half precision holds give what float32 gives, to its last bits."""
    from asr.nn.kernels.mix import mix_values

    probs_BHTT = torch.rand(B, H, 70, 70, device=device).to(map_dtype)
    v_BTD = torch.randn(B, 70, H * 16, device=device).to(map_dtype).float()
    with torch.no_grad():
        found = mix_values(probs_BHTT, v_BTD)

    v_BHTK = v_BTD.view(B, 70, H, 16).transpose(1, 2)
    exact = (probs_BHTT.double() @ v_BHTK.double()).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found.double(), exact, atol=2e-5, rtol=1e-5)


def test_a_map_may_be_a_view(device: torch.device) -> None:
    from asr.nn.kernels.mix import mix_values

    whole = torch.rand(B, 5, 20, 24, device=device, dtype=torch.float16)
    v_BTD = torch.randn(B, 20, 2 * 8, device=device, dtype=torch.float16)
    view = whole[:, 1:3, :, 3:23]
    with torch.no_grad():
        assert torch.equal(mix_values(view, v_BTD), mix_values(view.contiguous(), v_BTD))
        turned = view.transpose(2, 3)
        assert torch.equal(mix_values(turned, v_BTD), mix_values(turned.contiguous(), v_BTD))


@pytest.mark.parametrize(
    ("padded_head", "num_frames", "num_maps", "num_rows"),
    [(64, 375, 4, 16), (64, 1500, 4, 32), (64, 7500, 4, 64), (64, 375, 32, 64), (512, 7500, 1, 16)],
)
def test_small_maps_are_cut_finer(
    padded_head: int, num_frames: int, num_maps: int, num_rows: int
) -> None:
    mix = pytest.importorskip("asr.nn.kernels.mix", reason="needs Triton", exc_type=ImportError)
    assert mix.mix_tiling(padded_head, num_frames, num_maps).num_rows == num_rows
