"""Rescoring of CTC's best sequences by an attention decoder.

Shape legend: B batch, N sequences of all utterances, U tokens, S = U + 1 with a start or an end,
T frames, V vocabulary, X head outputs per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.beam import BeamDecoder, best_paths
from asr.decode.hybrid import CtcWeight, HybridSearch
from asr.head.decoder import BOUNDARY_ID
from asr.head.hybrid import HybridHead
from asr.lm.automaton import TokenScorer
from asr.ranges import BeamSize, Bonus, Tokens, Weight, in_ranges
from asr.types import ScoredTokens

_MAX_LOGITS = 2**26  # in one pass of the decoder


@in_ranges("decode")
class HybridRescore(HybridSearch):
    """CTC beam search whose sequences the decoder scores in one teacher-forced pass.

    Args:
        beam, tokens_per_frame: settings of the CTC search, see `BeamDecoder`.
        ctc_weight, length_bonus: see `asr.decode.hybrid`.
        n_best: sequences in the result, at most ``beam``.
        lm, lm_weight, lm_word_bonus, lodr, lodr_weight, rescore_lm, rescore_weight,
            rescore_word_bonus, scorers: see `FusedSearch` and `FusedBeam`. The CTC search adds
            their scores; the new order keeps them.

    Raises:
        InputError: a value is outside its range, ``n_best`` is above ``beam``, or ``lodr`` is given
            without ``lm``.
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
        lm: str | None = None,
        lm_weight: Weight = 0.3,
        lm_word_bonus: Bonus = 0.0,
        lodr: str | None = None,
        lodr_weight: Weight = 0.2,
        rescore_lm: str | None = None,
        rescore_weight: Weight = 0.3,
        rescore_word_bonus: Bonus = 0.0,
        scorers: Sequence[TokenScorer] = (),
    ) -> None:
        super().__init__(
            head,
            beam=beam,
            n_best=n_best,
            lm=lm,
            lm_weight=lm_weight,
            lm_word_bonus=lm_word_bonus,
            lodr=lodr,
            lodr_weight=lodr_weight,
            rescore_lm=rescore_lm,
            rescore_weight=rescore_weight,
            rescore_word_bonus=rescore_word_bonus,
            scorers=scorers,
        )
        self.ctc_search = BeamDecoder(beam=beam, tokens_per_frame=tokens_per_frame)
        self.ctc_weight = ctc_weight
        self.length_bonus = length_bonus

    @torch.no_grad()
    def search(self, outputs_BTX: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """Return CTC's sequences of each utterance in their new order."""
        log_probs_BTV, frames_BTD = self.head.split(outputs_BTX)
        ctc_search = copy(self.ctc_search)  # several threads may search, with scorers of their own
        ctc_search.scorers = self.scorers
        found = ctc_search.search(log_probs_BTV, lengths_B)
        most = max(len(one) for one in found)
        longest = max(len(one.token_ids) for listed in found for one in listed)
        size = max(1, _MAX_LOGITS // (most * (longest + 1) * self.head.vocab_size))
        again = []
        for first in range(0, len(found), size):
            piece = slice(first, first + size)
            again += self._scored(found[piece], frames_BTD[piece], lengths_B[piece], most)
        again = self.ordered(again, outputs_BTX.device)
        if self.is_fused:
            paths, num_tokens = best_paths(log_probs_BTV, lengths_B, self.blank_id)
            by_ctc = [{one.token_ids: one.acoustic for one in listed} for listed in found]
            lost = [
                path - acoustic[best[0].token_ids]
                for path, acoustic, best in zip(paths, by_ctc, again, strict=True)
            ]
            self.compare_with_audio(lost, num_tokens)
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
                    one.added,
                )
                for one, attention in zip(listed, scores, strict=False)
            ]
            again.append(scored)
        return [
            sorted(scored[: len(one)], key=lambda each: -each.score)
            for scored, one in zip(again, found, strict=True)
        ]
