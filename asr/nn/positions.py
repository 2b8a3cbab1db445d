"""How frame positions enter the attention scores: the interface, and the choice of no positions.

Shape legend: B batch, H heads, T frames, K head width, V value width, R rows of a tile,
P distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

PositionKind = Literal["relative", "rotary", "none"]

TILE_ROWS = 128


class Keys(NamedTuple):
    """Keys and where they stand: all that queries of any layer need to attend to them.

    ``positions`` is what the encoding of the layer that made the keys adds to them, or None.
    """

    k_BHTK: Tensor
    positions: Tensor | None = None


class Positions(nn.Module):
    """Attention scores without any position encoding; base of the encodings that have one.

    A position encoding lives in the score step of one layer. `keys` prepares keys, `scores`
    compares queries with them, and the two ways to attend never store all scores.
    """

    @staticmethod
    def table(num_frames: int, d_model: int, num_heads: int, like: Tensor) -> Tensor | None:
        """What the layers share for ``num_frames`` frames, on the device and dtype of ``like``."""
        return None

    def keys(self, k_BHTK: Tensor, table: Tensor | None) -> Keys:
        """Keys as queries meet them."""
        return Keys(k_BHTK)

    def queries(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Queries as the keys meet them."""
        return q_BHTK

    def scores(self, q_BHTK: Tensor, keys: Keys) -> Tensor:
        """Scaled scores (B, H, T, T) before masking and softmax."""
        scaled_BHTK = self.queries(q_BHTK, keys) * q_BHTK.shape[-1] ** -0.5
        return torch.matmul(scaled_BHTK, keys.k_BHTK.transpose(-1, -2))

    def score_tiles(self, q_BHTK: Tensor, keys: Keys) -> Iterator[Tensor]:
        """The same scores, (B, H, R, T) for one tile of rows after the other."""
        scaled_BHTK = self.queries(q_BHTK, keys) * q_BHTK.shape[-1] ** -0.5
        k_BHKT = keys.k_BHTK.transpose(-1, -2)
        for start in range(0, q_BHTK.shape[2], TILE_ROWS):
            yield scaled_BHTK[:, :, start : start + TILE_ROWS] @ k_BHKT

    def attend(
        self,
        q_BHTK: Tensor,
        keys: Keys,
        v_BHTK: Tensor,
        padding_mask: Tensor | None,
        dropout: float,
    ) -> Tensor:
        """Context (B, H, T, K) through the fused kernel; equals softmax(scores) @ values."""
        return functional.scaled_dot_product_attention(
            self.queries(q_BHTK, keys),
            keys.k_BHTK,
            v_BHTK,
            attn_mask=key_mask(padding_mask),
            dropout_p=dropout,
        )


def key_mask(padding_mask: Tensor | None) -> Tensor | None:
    """(B, 1, 1, T) bool, True = may be attended to: the form the fused kernel takes."""
    return None if padding_mask is None else ~padding_mask[:, None, None, :]
