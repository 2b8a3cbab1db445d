"""Random silence around the words: training for recordings that are cut less tightly.

Shape legend: B batch, N samples.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from asr.ranges import Range, Share, in_ranges

Pause = Annotated[float, Range(0, 60)]


@in_ranges("features.silence")
class RandomSilence(nn.Module):
    """Zeros around an utterance: 0 to ``max_lead_s`` seconds before, 0 to ``max_tail_s`` after.

    An utterance gets them with ``probability``. Training only. Draws from the generator of the
    waveforms' device. While ``at_longest`` is set every utterance gets the most.
    """

    def __init__(
        self,
        *,
        max_lead_s: Pause,
        max_tail_s: Pause,
        probability: Share = 1.0,
        sample_rate_hz: Annotated[int, Range(100, 192_000)] = 16000,
    ) -> None:
        super().__init__()
        self.probability = probability
        self.max_lead = round(max_lead_s * sample_rate_hz)
        self.max_tail = round(max_tail_s * sample_rate_hz)
        self.at_longest = False

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Longer waveforms (B, N') and their lengths in samples; unchanged outside training."""
        if not self.training:
            return waveforms_BN, lengths_B
        batch, num_samples = waveforms_BN.shape
        lead_B, tail_B = (
            (torch.rand(batch, device=waveforms_BN.device) * (most + 1)).long().clamp_max(most)
            for most in (self.max_lead, self.max_tail)
        )
        if self.probability < 1:
            is_padded_B = torch.rand(batch, device=waveforms_BN.device) < self.probability
            lead_B, tail_B = lead_B * is_padded_B, tail_B * is_padded_B
        if self.at_longest:
            lead_B, tail_B = lead_B.clamp_min(self.max_lead), tail_B.clamp_min(self.max_tail)
        total = num_samples + int((lead_B + tail_B).max())
        source_BN = torch.arange(total, device=waveforms_BN.device) - lead_B.unsqueeze(1)
        inside_BN = (source_BN >= 0) & (source_BN < num_samples)
        moved_BN = waveforms_BN.gather(1, source_BN.clamp(0, num_samples - 1))
        return moved_BN * inside_BN, lengths_B + lead_B + tail_B
