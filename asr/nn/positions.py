"""How frame positions enter the attention scores: the interface, and the choice of no positions.

Shape legend: B batch, H heads, T frames, K head width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

PositionKind = Literal["relative", "rotary", "none"]


class Positions(nn.Module):
    """Attention scores without any position encoding; base of the encodings that have one.

    A position encoding lives in the score step of one layer. It turns queries and keys into
    scores, and knows how to attend in one fused call that never stores the scores.
    """

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """What the layers share for ``num_frames`` frames, on the device and dtype of ``like``."""
        return None

    def scores(self, q_BHTK: Tensor, k_BHTK: Tensor, table: Tensor | None) -> Tensor:
        """Scaled scores (B, H, T, T) before masking and softmax."""
        scale = q_BHTK.shape[-1] ** -0.5
        return torch.matmul(q_BHTK * scale, k_BHTK.transpose(-1, -2))

    def attend(
        self,
        q_BHTK: Tensor,
        k_BHTK: Tensor,
        v_BHTK: Tensor,
        table: Tensor | None,
        padding_mask: Tensor | None,
        dropout: float,
    ) -> Tensor:
        """Context (B, H, T, K) through the fused kernel; equals softmax(scores) @ values."""
        return functional.scaled_dot_product_attention(
            q_BHTK, k_BHTK, v_BHTK, attn_mask=key_mask(padding_mask), dropout_p=dropout
        )


def key_mask(padding_mask: Tensor | None) -> Tensor | None:
    """(B, 1, 1, T) bool, True = may be attended to: the form the fused kernel takes."""
    return None if padding_mask is None else ~padding_mask[:, None, None, :]
