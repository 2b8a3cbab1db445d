"""Whole encoders with kernels against those without, in a padded batch."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from asr.nn.kernels import support
from tests.encoder.tiny import random_features
from tests.equivalence.cases import CASES

RELATIVE = {
    "none-fused", "local-2", "grouped-3", "pooled-3", "kv-pairs", "context-all",
}  # fmt: skip
"""One case of each way to call the kernel for relative positions."""


def calls_of(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[object]:
    """Grows by one with every call of a function of ``module``."""
    function = getattr(module, name)
    calls: list[object] = []

    def counted(*args: object) -> object:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(module, name, counted)
    return calls


@pytest.mark.parametrize("name", sorted(RELATIVE))
def test_relative_positions(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, name: str
) -> None:
    from asr.nn.kernels import relative_attention

    calls = calls_of(monkeypatch, relative_attention, "relative_attention")
    encoder = CASES[name].encoder(positions="relative")
    features_BTF, lengths_B = random_features([90, 5])
    with torch.no_grad():
        found = encoder.to(device)(features_BTF.to(device), lengths_B.to(device))
        monkeypatch.setattr(support, "runs_here", lambda *_: False)
        expected = encoder.cpu()(features_BTF, lengths_B)

    assert calls
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
    from asr.nn.kernels import mix

    calls = calls_of(monkeypatch, mix, "mix_values")
    features_BTF, lengths_B = random_features([90, 5])
    with torch.no_grad():
        encoder = CASES[name].encoder(positions="none")
        exact = encoder(features_BTF, lengths_B).frames_BTD
        assert not calls
        encoder.to(device, torch.bfloat16)
        found = encoder(features_BTF.to(device), lengths_B.to(device)).frames_BTD
        assert calls
        monkeypatch.setattr(support, "runs_here", lambda *_: False)
        plain = encoder(features_BTF.to(device), lengths_B.to(device)).frames_BTD

    for row, length in enumerate([23, 2]):
        errors = [
            (frames[row, :length].float().cpu() - exact[row, :length]).square().mean().sqrt()
            for frames in (found, plain)
        ]
        assert errors[0] < 1.5 * errors[1]
