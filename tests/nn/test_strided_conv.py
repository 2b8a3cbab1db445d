from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from asr.nn import subsampling as strided_conv
from asr.nn.subsampling import StridedConv


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (8, 7), (9, 1)])
def test_output_and_gradients_are_those_of_conv2d(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], channels: int
) -> None:
    monkeypatch.setattr(strided_conv, "PATCH_ENTRIES", 2 * 9 * channels * 3)  # tiles of 1 to 6 rows
    conv = StridedConv(channels, 5)
    image = torch.randn(2, channels, *size).to(memory_format=torch.channels_last).requires_grad_()
    leaves = [image, *conv.parameters()]

    output = conv(image)

    expected = functional.conv2d(image, conv.weight, conv.bias, stride=2, padding=1)
    torch.testing.assert_close(output, expected)
    gradient = torch.randn_like(output)
    torch.testing.assert_close(
        torch.autograd.grad(output, leaves, gradient),
        torch.autograd.grad(expected, leaves, gradient),
    )
