"""Our CTC loss against ``nn.CTCLoss``."""

from __future__ import annotations

import torch
from torch import nn

from asr.head.ctc import CtcHead
from asr.types import EncoderOutput


def test_ctc_loss_of_torch() -> None:
    head = CtcHead(d_model=8, vocab_size=6)
    lengths_B = torch.tensor([12, 7, 9])
    token_ids_BU = torch.tensor([[1, 2, 2, 5], [3, 3, 0, 0], [4, 0, 0, 0]])
    token_lengths_B = torch.tensor([4, 2, 1])
    frames_BTD = torch.randn(3, 12, 8, requires_grad=True)
    theirs = nn.CTCLoss(reduction="none")
    log_probs_TBV = head.project(frames_BTD).log_softmax(-1).transpose(0, 1)
    expected = theirs(log_probs_TBV, token_ids_BU, lengths_B, token_lengths_B).mean()
    expected_gradients = torch.autograd.grad(expected, [frames_BTD, *head.parameters()])

    loss, num_left_out = head.loss(
        EncoderOutput(frames_BTD, lengths_B), token_ids_BU, token_lengths_B
    )
    gradients = torch.autograd.grad(loss, [frames_BTD, *head.parameters()])

    assert num_left_out == 0
    torch.testing.assert_close(loss, expected)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted)
