"""The hybrid head: its loss against the equations, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import InputError
from asr.head.hybrid import HybridHead
from asr.types import EncoderOutput

D, V = 8, 7
LENGTHS, TOKENS = torch.tensor([5, 9, 3]), torch.tensor([2, 4, 0])
IDS = torch.tensor([[1, 1, 0, 0], [3, 2, 6, 5], [0, 0, 0, 0]])


def make(**changed: Any) -> HybridHead:
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "num_heads": 2, "ffn_dim": 10, "dropout": 0.0, **changed}
    head = HybridHead(d_model=D, vocab_size=V, **sizes)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return head


def encoded() -> EncoderOutput:
    frames = torch.randn(3, 9, D, generator=torch.Generator().manual_seed(1))
    return EncoderOutput(frames.requires_grad_(), LENGTHS)


def divergence(head: HybridHead, frames_TD: Tensor, ids: list[int], smoothing: float) -> Tensor:
    """Of one utterance, token after token, from a target that is written out."""
    memory = head.decoder.memory(frames_TD.unsqueeze(0), torch.tensor([len(frames_TD)]))
    logits_1SV, _ = head.decoder(torch.tensor([[0, *ids]]), memory)
    total = torch.zeros(())
    for logits_V, token in zip(logits_1SV[0], [*ids, 0], strict=True):
        target_V = torch.full((V,), smoothing / (V - 1))
        target_V[token] = 1 - smoothing
        total = total + functional.kl_div(logits_V.log_softmax(-1), target_V, reduction="sum")
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_weighted_mean_of_sums_over_utterances(smoothing: float) -> None:
    head, output = make(ctc_weight=0.25, label_smoothing=smoothing), encoded()
    log_probs_BTV = head.frame_log_probs(output.frames_BTD)
    ctc_B = functional.ctc_loss(
        log_probs_BTV.transpose(0, 1), IDS, LENGTHS, TOKENS, reduction="none"
    )
    attention_B = torch.stack(
        [
            divergence(head, output.frames_BTD[row, :length], IDS[row, :number].tolist(), smoothing)
            for row, (length, number) in enumerate(
                zip(LENGTHS.tolist(), TOKENS.tolist(), strict=True)
            )
        ]
    )

    found = head.loss(output, IDS, TOKENS)

    assert found.num_left_out == 0
    torch.testing.assert_close(found.loss, (0.25 * ctc_B + 0.75 * attention_B).mean())
    for gradient in torch.autograd.grad(found.loss, list(head.parameters()), retain_graph=True):
        assert gradient.isfinite().all()
    if not smoothing:
        losses_B = head.utterance_losses(head(output.frames_BTD), LENGTHS, IDS, TOKENS)
        torch.testing.assert_close(losses_B.mean(), found.loss)


def test_a_transcript_longer_than_its_frames_counts_in_attention_alone() -> None:
    head = make()
    short = EncoderOutput(encoded().frames_BTD[:, :3], torch.tensor([3, 3, 3]))
    attention_B = head.attention_losses(short.frames_BTD, short.lengths_B, IDS, TOKENS)

    losses_B = head.utterance_losses(head(short.frames_BTD), short.lengths_B, IDS, TOKENS)

    assert math.isinf(losses_B[1].detach())
    assert head.loss(short, IDS, TOKENS).loss.isfinite()
    assert attention_B.isfinite().all()


def test_half_precision_reaches_the_loss_in_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = make().loss(encoded(), IDS, TOKENS).loss

    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, make().loss(encoded(), IDS, TOKENS).loss, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ctc_weight": 1.0}, r"head\.ctc_weight=1\.0: allowed"),
        ({"ctc_weight": 0.0}, r"head\.ctc_weight=0\.0: allowed"),
        ({"label_smoothing": 1.0}, r"head\.label_smoothing=1\.0: allowed"),
        ({"num_layers": 0}, r"head\.num_layers=0: allowed"),
        ({"num_heads": 3}, r"head\.num_heads=3 does not divide the width 8"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        make(**options)

    assert len(str(raised.value).splitlines()) == 1


def test_it_serves_what_needs_ctc_and_refuses_a_graph() -> None:
    for use in ("asr analyze", "distillation"):
        make().check_serves(use)
    for use in ("asr export", "training in shards"):
        with pytest.raises(InputError, match=f"{use} does not serve a model with a hybrid head"):
            make().check_serves(use)
