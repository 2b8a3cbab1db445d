"""Feature normalisation: over whole utterances, or running over the frames so far.

Shape legend: B batch, T frames, F mel bins.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from asr.ranges import Range, in_ranges

_VARIANCE_FLOOR = 1e-5  # keeps a constant bin, such as digital silence, at zero
_SECTION_FRAMES = 64
_GATHERED_FRAMES = 1_000_000
"""Training frames that the statistics cover at most, about: 2.8 hours at 100 a second."""


@in_ranges("features.normalize")
class UtteranceNorm(nn.Module):
    """Normalisation of each bin per utterance to mean 0 and, with ``variance``, deviation 1.

    Statistics are over the valid frames within ``range_db`` decibels of the utterance's loudest
    one, so silence around and between the words does not shift them, and lower bins are raised to
    what white noise at the end of the range has, so all deeper silence looks the same. None takes
    every frame as it is. The features must be log energies. Padding becomes 0.

    Raises:
        InputError: ``range_db`` is not a number above 0, up to 1000.
    """

    def __init__(
        self,
        *,
        variance: bool,
        range_db: Annotated[float, Range(0, 1000, above=True)] | None = None,
    ) -> None:
        super().__init__()
        self.variance = variance
        self.range_db = range_db

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the normalised features (B, T, F); ``lengths_B`` counts frames."""
        frames_T = torch.arange(features_BTF.shape[1], device=features_BTF.device)
        padding_mask_BT = frames_T >= lengths_B[:, None]
        left_out_BT1, num_counted_B11 = padding_mask_BT[:, :, None], lengths_B[:, None, None]
        if self.range_db is not None:
            energy_BT = features_BTF.logsumexp(-1).masked_fill(padding_mask_BT, -torch.inf)
            least_B1 = energy_BT.amax(dim=1, keepdim=True) - self.range_db * math.log(10) / 10
            left_out_BT1 = (padding_mask_BT | (energy_BT < least_B1))[:, :, None]
            num_counted_B11 = (~left_out_BT1).sum(dim=1, keepdim=True).clamp_min(1)
            floor_B11 = least_B1[:, :, None] - math.log(features_BTF.shape[-1])
            features_BTF = torch.maximum(features_BTF, floor_B11)
        total_B1F = features_BTF.masked_fill(left_out_BT1, 0.0).sum(dim=1, keepdim=True)
        centred_BTF = features_BTF - total_B1F / num_counted_B11
        centred_BTF = centred_BTF.masked_fill(padding_mask_BT[:, :, None], 0.0)
        if not self.variance:
            return centred_BTF
        counted_BTF = centred_BTF.masked_fill(left_out_BT1, 0.0)
        variance_B1F = counted_BTF.square().sum(dim=1, keepdim=True) / num_counted_B11
        return centred_BTF * (variance_B1F + _VARIANCE_FLOOR).rsqrt()


class NormState(NamedTuple):
    """Running statistics of B streams, float64; older frames weigh less.

    ``loudest_B`` is the log energy of the loudest frame so far, ``num_B`` the total weight of
    counted frames, ``sum_BF`` and ``square_BF`` their weighted sums of values and squares.
    """

    loudest_B: Tensor
    num_B: Tensor
    sum_BF: Tensor
    square_BF: Tensor


@in_ranges("features.normalize")
class RunningNorm(nn.Module):
    """Normalisation of each frame by the frames up to it, so that streams can use it.

    The mean, with ``variance`` also the deviation, of a bin is over the frames so far; a frame
    ``memory_frames`` ago has a weight of 1/e. At the start, the statistics of the training data
    count as ``prior_frames`` frames: they are collected in training and stored with the weights
    (after Kaldi's online CMVN, which has a sliding window). As in `UtteranceNorm`, frames more than
    ``range_db`` below the loudest so far are not counted, and lower values are raised to the end of
    that range. The loudest frame falls by ``fall_db`` in ``memory_frames`` frames, to no less than
    the mean of the training data. The features must be log energies. Padding becomes 0.
    """

    mean_F: Tensor
    variance_F: Tensor
    num_frames: Tensor

    def __init__(
        self,
        *,
        num_mel_bins: Annotated[int, Range(1, 512)] = 80,
        variance: bool = True,
        range_db: Annotated[float, Range(0, 1000, above=True)] = 50.0,
        memory_frames: Annotated[int, Range(1, 1_000_000)] = 1000,
        prior_frames: Annotated[int, Range(1, 1_000_000)] = 100,
        fall_db: Annotated[float, Range(0, 1000)] = 0.0,
    ) -> None:
        super().__init__()
        self.variance = variance
        self.range_db = range_db
        self.decay = math.exp(-1 / memory_frames)
        self.prior_frames = prior_frames
        self.fall = fall_db * math.log(10) / 10 / memory_frames  # a frame, in natural logarithms
        self.register_buffer("mean_F", torch.zeros(num_mel_bins))
        self.register_buffer("variance_F", torch.ones(num_mel_bins))
        self.register_buffer("num_frames", torch.zeros(()))

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the normalised features (B, T, F) of whole utterances; ``lengths_B`` counts
        frames.
        """
        if self.training:
            self._gather(features_BTF, lengths_B)
        return self.step(features_BTF, lengths_B, self.start(features_BTF.shape[0]))[0]

    def start(self, num_streams: int) -> NormState:
        """Return the statistics before the first frame."""
        mean_BF = self.mean_F.double().expand(num_streams, -1)
        num_B = mean_BF.new_full((num_streams,), float(self.prior_frames))
        square_BF = self.variance_F.double() + mean_BF.square()
        return NormState(
            mean_BF.logsumexp(1), num_B, num_B[:, None] * mean_BF, num_B[:, None] * square_BF
        )

    def step(
        self, features_BTF: Tensor, lengths_B: Tensor, state: NormState
    ) -> tuple[Tensor, NormState]:
        """Normalise the next frames (B, T, F) of streams; return them and the new statistics."""
        if torch.compiler.is_exporting():  # a graph has no loop over an unknown number of frames
            return self._section(features_BTF, lengths_B, state)
        sections = []
        for first in range(0, features_BTF.shape[1], _SECTION_FRAMES):
            section_BTF = features_BTF[:, first : first + _SECTION_FRAMES]
            normal_BTF, state = self._section(section_BTF, lengths_B - first, state)
            sections.append(normal_BTF)
        return torch.cat(sections, 1), state

    def _section(
        self, features_BTF: Tensor, lengths_B: Tensor, state: NormState
    ) -> tuple[Tensor, NormState]:
        """Do `step` for few frames: every statistic is a product of weights and frames."""
        frames_T = torch.arange(features_BTF.shape[1], device=features_BTF.device)
        padding_mask_BT = frames_T >= lengths_B[:, None]
        x_BTF = features_BTF.double()
        energy_BT = x_BTF.logsumexp(-1).masked_fill(padding_mask_BT, -torch.inf)
        fallen_BT = self.fall * torch.minimum(frames_T + 1, lengths_B[:, None].clamp_min(0))
        loudest_BT = _largest_so_far(energy_BT + fallen_BT)
        loudest_BT = torch.maximum(loudest_BT, state.loudest_B[:, None]) - fallen_BT
        loudest_BT = torch.maximum(loudest_BT, self.mean_F.double().logsumexp(0))
        least_BT = loudest_BT - self.range_db * math.log(10) / 10
        x_BTF = torch.maximum(x_BTF, least_BT[:, :, None] - math.log(x_BTF.shape[-1]))
        counted_BT = (energy_BT >= least_BT).double()
        age_BT = counted_BT.cumsum(1)
        # (B, T, S): the weight of frame S in the statistics of frame T.
        weights_BTS = (self.decay ** (age_BT[:, :, None] - age_BT[:, None, :]).clamp_min(0)).tril()
        weights_BTS = weights_BTS * counted_BT[:, None, :]
        fading_BT = self.decay**age_BT
        num_BT = weights_BTS.sum(-1) + fading_BT * state.num_B[:, None]
        sum_BTF = weights_BTS @ x_BTF + fading_BT[:, :, None] * state.sum_BF[:, None]
        square_BTF = weights_BTS @ x_BTF.square() + fading_BT[:, :, None] * state.square_BF[:, None]
        mean_BTF = sum_BTF / num_BT[:, :, None]
        normal_BTF = x_BTF - mean_BTF
        if self.variance:
            variance_BTF = (square_BTF / num_BT[:, :, None] - mean_BTF.square()).clamp_min(0)
            normal_BTF = normal_BTF * (variance_BTF + _VARIANCE_FLOOR).rsqrt()
        normal_BTF = normal_BTF.masked_fill(padding_mask_BT[:, :, None], 0.0)
        last = NormState(loudest_BT[:, -1], num_BT[:, -1], sum_BTF[:, -1], square_BTF[:, -1])
        return normal_BTF.to(features_BTF.dtype), last

    @torch.no_grad()
    def _gather(self, features_BTF: Tensor, lengths_B: Tensor) -> None:
        """Add a training batch to the statistics of the training data.

        Means and variances are merged as in Chan et al. 1979, without waiting for the device.
        """
        frames_T = torch.arange(features_BTF.shape[1], device=features_BTF.device)
        energy_BT = features_BTF.logsumexp(-1)
        energy_BT = energy_BT.masked_fill(frames_T >= lengths_B[:, None], -torch.inf)
        least_B1 = energy_BT.amax(1, keepdim=True) - self.range_db * math.log(10) / 10
        left_out_BT1 = (energy_BT < least_B1).unsqueeze(-1)
        x_BTF = features_BTF.double()
        num = (~left_out_BT1).sum()
        mean_F = x_BTF.masked_fill(left_out_BT1, 0.0).sum((0, 1)) / num
        deviation_BTF = (x_BTF - mean_F).masked_fill(left_out_BT1, 0.0)
        variance_F = deviation_BTF.square().sum((0, 1)) / num
        share = num / (self.num_frames + num)
        before_F = self.mean_F.double()
        between_F = share * (1 - share) * (mean_F - before_F).square()
        merged_F = self.variance_F + share * (variance_F - self.variance_F) + between_F
        self.mean_F.copy_(before_F + share * (mean_F - before_F))
        self.variance_F.copy_(merged_F)
        self.num_frames.copy_((self.num_frames + num).clamp_max(_GATHERED_FRAMES))


def _largest_so_far(x_BT: Tensor) -> Tensor:
    """Return the running maximum (B, T) over frames."""
    if not torch.compiler.is_exporting():
        return x_BT.cummax(1).values
    later_TT = torch.ones(x_BT.shape[1], x_BT.shape[1], dtype=torch.bool).triu(1)
    return x_BT[:, None, :].masked_fill(later_TT, -torch.inf).amax(-1)
