from __future__ import annotations

import pytest
import torch

from asr.nn.feedforward import FeedForward
from tests.encoder.tiny import randomise


@pytest.mark.parametrize("grad", [True, False])
def test_equals_the_formula(grad: bool) -> None:
    module = FeedForward(d_model=4, ffn_dim=8, dropout=0.5)
    randomise(module)
    module.eval()
    x_BTD = torch.randn(2, 3, 4)
    centred = x_BTD - x_BTD.mean(-1, keepdim=True)
    normed = centred / (x_BTD.var(-1, unbiased=False, keepdim=True) + module.norm.eps).sqrt()
    normed = normed * module.norm.weight + module.norm.bias
    hidden = normed @ module.expand.weight.T + module.expand.bias
    expected = (hidden * hidden.sigmoid()) @ module.project.weight.T + module.project.bias

    with torch.set_grad_enabled(grad):
        output_BTD = module(x_BTD)

    torch.testing.assert_close(output_BTD, expected)


def test_dropout_falls_on_the_hidden_and_on_the_output() -> None:
    torch.manual_seed(0)
    module = FeedForward(d_model=64, ffn_dim=64, dropout=0.5).train()

    output_BTD = module(torch.randn(1, 50, 64))

    assert 0.4 < float((output_BTD == 0).float().mean()) < 0.6
