"""The position-wise feed-forward module.

Shape legend: B batch, T frames, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from asr.nn.dropout import Dropout


class FeedForward(nn.Module):
    """LayerNorm, expansion to ``ffn_dim``, Swish, projection (Gulati et al. 2020, figure 4)."""

    def __init__(self, *, d_model: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, ffn_dim)
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(ffn_dim, d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (B, T, D) for (B, T, D); the caller adds the residual."""
        hidden = self.expand(self.norm(x_BTD))
        hidden = functional.silu(hidden, inplace=not hidden.requires_grad)
        output: Tensor = self.dropout(self.project(self.dropout(hidden)))
        return output
