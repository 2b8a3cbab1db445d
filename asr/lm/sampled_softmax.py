"""Sampled softmax (Bengio and Senecal 2008; Jean et al. 2015): training on a sample of the tokens.

The normaliser is the target token plus an estimate of all others from a few sampled tokens, each
divided by its expected count in the sample. With a growing sample it converges to the full softmax.

Shape legend: N positions, D width, V vocabulary, K sampled tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SampledSoftmax(nn.Module):
    """Losses against ``num_samples`` tokens, sampled for each batch by their frequency in a text.

    ``counts_V`` is the count of each token in the text; 1 is added to every count.
    """

    def __init__(self, counts_V: Tensor, num_samples: int) -> None:
        super().__init__()
        self.num_samples = num_samples
        shares_V = (counts_V + 1).double()
        shares_V = shares_V / shares_V.sum()
        self.cumulated_V: Tensor
        self.log_expected_V: Tensor
        self.register_buffer("cumulated_V", shares_V.cumsum(0), persistent=False)
        log_expected_V = (shares_V * num_samples).log().float()
        self.register_buffer("log_expected_V", log_expected_V, persistent=False)

    def draw(self) -> Tensor:
        """Sample (K,) tokens with replacement."""
        at_K = torch.rand(self.num_samples, dtype=torch.float64, device=self.cumulated_V.device)
        sampled_K: Tensor = torch.searchsorted(self.cumulated_V, at_K)
        return sampled_K.clamp_max(len(self.cumulated_V) - 1)

    def forward(self, hidden_ND: Tensor, targets_N: Tensor, output: nn.Linear) -> Tensor:
        """Estimate (N,) negative log probabilities of ``targets_N``."""
        sampled_K = self.draw()
        ids = torch.cat([targets_N, sampled_K])
        weight = functional.embedding(ids, output.weight)  # one dense gradient for all rows
        bias = output.bias[ids]
        num_positions = len(targets_N)
        target_N1 = (hidden_ND * weight[:num_positions]).sum(1, keepdim=True)
        target_N1 = target_N1 + bias[:num_positions].unsqueeze(1)
        bias_K = bias[num_positions:] - self.log_expected_V[sampled_K]
        sampled_NK = torch.addmm(bias_K, hidden_ND, weight[num_positions:].t())
        sampled_NK = sampled_NK.masked_fill(sampled_K == targets_N.unsqueeze(1), float("-inf"))
        total_N = torch.cat([target_N1, sampled_NK], 1).logsumexp(1)
        return total_N - target_N1.squeeze(1)
