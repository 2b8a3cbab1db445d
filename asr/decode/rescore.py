"""Rescoring of CTC's best sequences by an attention decoder.

Shape legend: B batch, N sequences of all utterances, U tokens, S = U + 1 with a start or an end,
T frames, V vocabulary, X head outputs per frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.beam import BeamDecoder
from asr.decode.hybrid import CtcWeight, HybridSearch, check_n_best
from asr.head.decoder import BOUNDARY_ID
from asr.head.hybrid import HybridHead
from asr.ranges import BeamSize, Bonus, Tokens, in_ranges
from asr.types import ScoredTokens

_MAX_LOGITS = 2**26  # in one pass of the decoder


@in_ranges("decode")
class HybridRescore(HybridSearch):
    """CTC beam search whose sequences the decoder scores in one teacher-forced pass.

    Args:
        beam, tokens_per_frame: settings of the CTC search, see `BeamDecoder`.
        ctc_weight, length_bonus: see `asr.decode.hybrid`.
        n_best: sequences in the result, at most ``beam``.

    Raises:
        InputError: a value is outside its range, or ``n_best`` is above ``beam``.
    """

    def __init__(
        self,
        *,
        head: HybridHead,
        beam: BeamSize = 10,
        tokens_per_frame: Tokens | None = 20,
        ctc_weight: CtcWeight = 0.3,
        length_bonus: Bonus = 0.0,
        n_best: BeamSize = 1,
    ) -> None:
        super().__init__(head, n_best=n_best)
        check_n_best(n_best, beam)
        self.ctc_search = BeamDecoder(beam=beam, tokens_per_frame=tokens_per_frame)
        self.ctc_weight = ctc_weight
        self.length_bonus = length_bonus

    @torch.no_grad()
    def search(self, outputs_BTX: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """Return CTC's sequences of each utterance in their new order."""
        log_probs_BTV, frames_BTD = self.head.split(outputs_BTX)
        found = self.ctc_search.search(log_probs_BTV, lengths_B)
        most = max(len(one) for one in found)
        longest = max(len(one.token_ids) for listed in found for one in listed)
        size = max(1, _MAX_LOGITS // (most * (longest + 1) * self.head.vocab_size))
        again = []
        for first in range(0, len(found), size):
            piece = slice(first, first + size)
            again += self._scored(found[piece], frames_BTD[piece], lengths_B[piece], most)
        return again

    def _scored(
        self,
        found: Sequence[Sequence[ScoredTokens]],
        frames_BTD: Tensor,
        lengths_B: Tensor,
        most: int,
    ) -> list[list[ScoredTokens]]:
        """Score and sort every list; shorter lists are padded to ``most`` sequences."""
        filled = [[*one, *[one[0]] * (most - len(one))] for one in found]
        rows = [torch.tensor(one.token_ids, dtype=torch.int64) for each in filled for one in each]
        device = frames_BTD.device
        ids_NU = pad_sequence(rows, batch_first=True).to(device)
        lengths_N = torch.tensor([len(one) for one in rows], device=device)
        target_NS = torch.nn.functional.pad(ids_NU, (0, 1), value=BOUNDARY_ID)
        given_NS = torch.nn.functional.pad(ids_NU, (1, 0), value=BOUNDARY_ID)
        decoder = self.head.decoder
        logits_NSV, _ = decoder(given_NS, decoder.memory(frames_BTD, lengths_B))
        scores_NS = logits_NSV.log_softmax(-1).gather(2, target_NS.unsqueeze(-1)).squeeze(-1)
        behind_NS = torch.arange(target_NS.shape[1], device=device) > lengths_N.unsqueeze(1)
        scores = iter(scores_NS.double().masked_fill(behind_NS, 0.0).sum(1).tolist())
        again = []
        for listed in filled:
            scored = [
                ScoredTokens(
                    one.token_ids,
                    (1 - self.ctc_weight) * attention
                    + self.ctc_weight * one.acoustic
                    + self.length_bonus * len(one.token_ids),
                )
                for one, attention in zip(listed, scores, strict=False)
            ]
            again.append(scored)
        return [
            sorted(scored[: len(one)], key=lambda each: -each.score)
            for scored, one in zip(again, found, strict=True)
        ]
