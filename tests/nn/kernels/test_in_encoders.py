"""Whole encoders with kernels against those without, in a padded batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from asr.nn.kernels import support
from tests.encoder.tiny import random_features
from tests.equivalence.cases import CASES

RELATIVE = {
    "none-fused", "local-2", "grouped-3", "pooled-3", "kv-pairs", "context-all",
}  # fmt: skip
"""One case of each way to call the kernel for relative positions."""


@pytest.mark.parametrize("name", sorted(RELATIVE))
def test_relative_positions(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, name: str
) -> None:
    from asr.nn.kernels import relative_attention as kernel

    calls = []

    def counted(*args: Any) -> torch.Tensor:
        calls.append(args)
        return operation(*args)

    operation = kernel.relative_attention
    monkeypatch.setattr(kernel, "relative_attention", counted)
    encoder = CASES[name].encoder(positions="relative")
    features_BTF, lengths_B = random_features([90, 5])
    with torch.no_grad():
        found = encoder.to(device)(features_BTF.to(device), lengths_B.to(device))
        assert calls
        monkeypatch.setattr(support, "runs_here", lambda *_: False)
        expected = encoder.cpu()(features_BTF, lengths_B)

    for row, length in enumerate(expected.lengths_B):
        torch.testing.assert_close(
            found.frames_BTD[row, :length].cpu(),
            expected.frames_BTD[row, :length],
            atol=2e-5,
            rtol=2e-5,
        )


@pytest.mark.parametrize("name", ["probs-between", "within-2"])
def test_maps_in_half_precision(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, name: str
) -> None:
    """An encoder in bfloat16 stays as near to float32 as it is without kernels."""
    features_BTF, lengths_B = random_features([90, 5])
    with torch.no_grad():
        encoder = CASES[name].encoder(positions="none")
        exact = encoder(features_BTF, lengths_B).frames_BTD
        encoder.to(device, torch.bfloat16)
        found = encoder(features_BTF.to(device), lengths_B.to(device)).frames_BTD
        monkeypatch.setattr(support, "runs_here", lambda *_: False)
        plain = encoder(features_BTF.to(device), lengths_B.to(device)).frames_BTD

    assert not torch.equal(found, plain)
    for row, length in enumerate([23, 2]):
        errors = [
            (frames[row, :length].float().cpu() - exact[row, :length]).square().mean().sqrt()
            for frames in (found, plain)
        ]
        assert errors[0] < 1.5 * errors[1]
