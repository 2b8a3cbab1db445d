"""Sampled softmax (Bengio and Senecal 2008; Jean et al. 2015): training on a part of the tokens.

The normaliser is the wanted token and an estimate of all others by a few that are drawn, each over
how often it is expected among them. With more and more of them it becomes the whole softmax.

Shape legend: N places, D width, V vocabulary, K drawn tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SampledSoftmax(nn.Module):
    """Losses against ``num_samples`` tokens, drawn for a batch with the frequencies of a text.

    ``counts_V`` is how often each token occurs there; every one is counted once more.
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
        """(K,) tokens; one may come several times."""
        at_K = torch.rand(self.num_samples, dtype=torch.float64, device=self.cumulated_V.device)
        drawn_K: Tensor = torch.searchsorted(self.cumulated_V, at_K)
        return drawn_K.clamp_max(len(self.cumulated_V) - 1)

    def forward(self, hidden_ND: Tensor, wanted_N: Tensor, output: nn.Linear) -> Tensor:
        """(N,) estimates of the negative log probabilities of ``wanted_N``."""
        drawn_K = self.draw()
        ids = torch.cat([wanted_N, drawn_K])
        weight = functional.embedding(ids, output.weight)  # one gradient of the whole matrix
        bias = output.bias[ids]
        num_places = len(wanted_N)
        wanted_N1 = (hidden_ND * weight[:num_places]).sum(1, keepdim=True)
        wanted_N1 = wanted_N1 + bias[:num_places].unsqueeze(1)
        bias_K = bias[num_places:] - self.log_expected_V[drawn_K]
        drawn_NK = torch.addmm(bias_K, hidden_ND, weight[num_places:].t())
        drawn_NK = drawn_NK.masked_fill(drawn_K == wanted_N.unsqueeze(1), float("-inf"))
        total_N = torch.cat([wanted_N1, drawn_NK], 1).logsumexp(1)
        return total_N - wanted_N1.squeeze(1)
