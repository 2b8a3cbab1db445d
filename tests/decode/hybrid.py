"""A tiny hybrid head, and the scores of all sequences by it."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from asr.head.ctc import frames_needed
from asr.head.hybrid import HybridHead
from tests.model.configs import CONFIG

D, V = 8, 4
LENGTHS = torch.tensor([4, 3, 0, 1])
HYBRID: dict[str, Any] = {
    **CONFIG,
    "head": {
        "_target_": "asr.head.hybrid.HybridHead",
        "num_layers": 2,
        "num_heads": 2,
        "ffn_dim": 16,
    },
    "decode": {"_target_": "asr.decode.hybrid.HybridBeam", "beam": 3},
}


def make(vocab_size: int = V, *, end_bias: float = 0.0) -> HybridHead:
    torch.manual_seed(5)
    head = HybridHead(d_model=D, vocab_size=vocab_size, num_layers=2, num_heads=2, ffn_dim=8)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.6)
    with torch.no_grad():
        head.decoder.output.bias[0] += end_bias
    return head.eval()


@torch.no_grad()
def outputs(head: HybridHead, num_frames: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    outputs_BTX: Tensor = head(torch.randn(4, num_frames, D, generator=generator))
    return outputs_BTX


@torch.no_grad()
def every_sequence(
    head: HybridHead, outputs_BTX: Tensor, length: int, weight: float, bonus: float
) -> list[tuple[float, tuple[int, ...]]]:
    """All sequences that have an alignment, with their scores, the best first."""
    lengths_B = torch.tensor([length])
    log_probs_BTV, frames_BTD = head.split(outputs_BTX)
    found = []
    for number in range(length + 1):
        for ids in product(range(1, head.vocab_size), repeat=number):
            target = torch.tensor([ids], dtype=torch.int64), torch.tensor([number])
            if int(frames_needed(*target)) > length:
                continue
            attention_B = head.attention_losses(frames_BTD, lengths_B, *target)
            ctc_B = nn.functional.ctc_loss(
                log_probs_BTV.transpose(0, 1), target[0], lengths_B, target[1], reduction="none"
            )
            score = -(1 - weight) * float(attention_B) - weight * float(ctc_B) + bonus * number
            found.append((score, ids))
    return sorted(found, reverse=True)
