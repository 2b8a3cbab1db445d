from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from asr.nn.convolution import depthwise_over_time

D = 6


@pytest.mark.parametrize("kernel_size", [1, 3, 31])
@pytest.mark.parametrize("num_frames", [1, 2, 9])
@pytest.mark.parametrize("with_bias", [False, True])
def test_depthwise_over_time_is_conv1d(kernel_size: int, num_frames: int, with_bias: bool) -> None:
    x_BTD = torch.randn(2, num_frames, D)
    kernel_D1C = torch.randn(D, 1, kernel_size)
    bias_D = torch.randn(D) if with_bias else None

    expected_BDT = functional.conv1d(
        x_BTD.transpose(1, 2), kernel_D1C, bias_D, padding=kernel_size // 2, groups=D
    )

    torch.testing.assert_close(
        depthwise_over_time(x_BTD, kernel_D1C, bias_D), expected_BDT.transpose(1, 2)
    )


@pytest.mark.parametrize("kernel_size", [1, 3, 31])
@pytest.mark.parametrize("num_frames", [1, 2, 31, 32, 33, 70])
def test_gradients_are_those_of_conv1d(kernel_size: int, num_frames: int) -> None:
    x_BTD = torch.randn(2, num_frames, D, requires_grad=True)
    kernel_D1C = torch.randn(D, 1, kernel_size, requires_grad=True)
    output_BTD = depthwise_over_time(x_BTD, kernel_D1C)
    expected_BDT = functional.conv1d(
        x_BTD.transpose(1, 2), kernel_D1C, padding=kernel_size // 2, groups=D
    )
    gradient_BTD = torch.randn(2, num_frames, D)

    found = torch.autograd.grad(output_BTD, [x_BTD, kernel_D1C], gradient_BTD)

    expected = torch.autograd.grad(expected_BDT, [x_BTD, kernel_D1C], gradient_BTD.transpose(1, 2))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
