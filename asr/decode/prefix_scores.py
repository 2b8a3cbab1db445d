"""CTC prefix scores, token by token, for many prefixes at once (Watanabe et al. 2017, eq. 8).

The score of a prefix is the log probability that CTC's output begins with it. It is computed from
two sums for every number of frames: over the paths that spell the prefix and end in its last token,
and over those that end in a blank. One more token needs one pass over the frames.

Shape legend: B batch, K prefixes of a beam, C candidate tokens, T frames, F = T + 1 lengths of a
path from 0 to T, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.head.ctc import BLANK_ID

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class PrefixSums:
    """Log sums (B, K, F) over the paths that spell each prefix, by length and last symbol."""

    token: Tensor
    blank: Tensor

    @property
    def total(self) -> Tensor:
        """Return the log probability (B, K) that the whole output equals the prefix."""
        return torch.logaddexp(self.token[..., -1], self.blank[..., -1])


class CtcPrefixScores:
    """Prefix scores for the frames of a batch; frames after an utterance's end are ignored."""

    def __init__(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> None:
        frames_T = torch.arange(log_probs_BTV.shape[1], device=log_probs_BTV.device)
        is_behind_BT = frames_T >= lengths_B.to(log_probs_BTV.device).unsqueeze(1)
        scores_BTV = log_probs_BTV.double().masked_fill(is_behind_BT.unsqueeze(-1), _NEVER)
        self.blank_BT = scores_BTV[..., BLANK_ID].masked_fill(is_behind_BT, 0.0)
        self.scores_BVT = scores_BTV.transpose(1, 2).contiguous()

    def start(self) -> PrefixSums:
        """Return the sums (B, 1, F) of the empty prefix."""
        blank_BF = torch.nn.functional.pad(self.blank_BT.cumsum(1), (1, 0))
        token_BF = torch.full_like(blank_BF, _NEVER)
        return PrefixSums(token_BF.unsqueeze(1), blank_BF.unsqueeze(1))

    def extend(
        self, sums: PrefixSums, last_BK: Tensor, ids_BKC: Tensor
    ) -> tuple[Tensor, PrefixSums]:
        """Return scores (B, K, C) of prefixes with one more token, and their sums (B, K * C, F).

        ``last_BK`` are the last tokens of the prefixes, blank for an empty one.
        """
        batch, beam, num_tokens = ids_BKC.shape
        num_frames = self.blank_BT.shape[1]
        index = ids_BKC.flatten(1).unsqueeze(-1).expand(-1, -1, num_frames)
        emitted_BKCT = self.scores_BVT.gather(1, index).view(batch, beam, num_tokens, num_frames)
        both_BK1F = torch.logaddexp(sums.token, sums.blank).unsqueeze(2)
        is_repeated_BKC1 = (last_BK.unsqueeze(2) == ids_BKC).unsqueeze(-1)
        before_BKCF = torch.where(is_repeated_BKC1, sums.blank.unsqueeze(2), both_BK1F)
        begun_BKCT = before_BKCF[..., :-1] + emitted_BKCT
        never = begun_BKCT.new_full((batch, beam, num_tokens), _NEVER)
        tokens, blanks = [never], [never]
        for frame in range(num_frames):
            token, blank = tokens[-1], blanks[-1]
            tokens.append(torch.logaddexp(begun_BKCT[..., frame], token + emitted_BKCT[..., frame]))
            blanks.append(torch.logaddexp(token, blank) + self.blank_BT[:, frame, None, None])
        shape = batch, beam * num_tokens, num_frames + 1
        following = PrefixSums(
            torch.stack(tokens, -1).view(shape), torch.stack(blanks, -1).view(shape)
        )
        return begun_BKCT.logsumexp(-1), following

    @staticmethod
    def pick(sums: PrefixSums, places_BK: Tensor) -> PrefixSums:
        """Select the sums of some prefixes of each utterance."""
        index = places_BK.unsqueeze(-1).expand(-1, -1, sums.token.shape[-1])
        return PrefixSums(sums.token.gather(1, index), sums.blank.gather(1, index))
