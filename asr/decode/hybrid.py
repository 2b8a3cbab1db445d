"""One-pass beam search for a head with CTC and an attention decoder.

A sequence is scored by ``(1 - w) * attention + w * CTC + bonus * tokens``, in log probabilities
(Watanabe et al. 2017), plus what language models and hotwords add. Every sequence has an alignment:
one with more tokens than the frames can hold is never made, so no search is endless. Words have the
times of CTC's best path through the sequence, and chunks of long audio are joined as those of a CTC
head are.

Shape legend: B batch, K hypotheses of a beam, N = B * K, C candidate tokens, U tokens, T frames,
X head outputs per frame, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from asr.decode.beam import labels_of
from asr.decode.endings import Ending, Endings, check_n_best
from asr.decode.fusion import FusedBeam
from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.decode.prefix_scores import CtcPrefixScores, PrefixSums
from asr.head.decoder import BOUNDARY_ID
from asr.head.decoder_layer import LayerCache
from asr.head.hybrid import HybridHead
from asr.lm.automaton import TokenScorer, advance_all, finish_all
from asr.ranges import BeamSize, Bonus, Range, Tokens, Weight, in_ranges
from asr.types import ScoredTokens

_NEVER = float("-inf")

CtcWeight = Annotated[float, Range(0, 1, below=True)]


class HybridSearch(GreedyDecoder, FusedBeam, ABC):
    """Base of the searches of a hybrid head: frame labels from the best of their sequences."""

    head_name = HybridHead.name
    moves_together = True

    def __init__(self, head: HybridHead, *, beam: int, n_best: int, **fusion: Any) -> None:
        GreedyDecoder.__init__(self)
        FusedBeam.__init__(self, **fusion)
        check_n_best(n_best, beam)
        self.head = head
        self.beam = beam
        self.n_best = n_best

    @property
    def notice(self) -> str:
        """The warning if scorers outweigh the audio; empty if they do not."""
        return self.warning

    @torch.no_grad()
    def label(self, outputs_BTX: Tensor, lengths_B: Tensor) -> list[FrameLabels]:
        """Label frames by CTC's best path through the best sequence; attach the n-best list."""
        if not outputs_BTX.shape[1]:
            return [self.blanks(0) for _ in lengths_B]
        found = self.search(outputs_BTX, lengths_B)
        return labels_of(found, self.head.split(outputs_BTX)[0], lengths_B, self.n_best)

    @abstractmethod
    def search(self, outputs_BTX: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """Return the sequences of each utterance, the best first."""


@in_ranges("decode")
class HybridBeam(HybridSearch):
    """Beam search, token by token, for all utterances of a batch; greedy with a beam of 1.

    An utterance ends when no hypothesis in the beam can become better than those that have ended.
    With a length bonus or scorers that is not known: see `Endings`.

    Args:
        beam: hypotheses kept after every token.
        ctc_weight: w; with 0, CTC only gives times.
        length_bonus: added to the score per token.
        tokens_per_step: number of each hypothesis' best tokens by the decoder that CTC scores too;
            null: all tokens.
        max_length_ratio: most tokens per frame. Hypotheses stopped by it are counted.
        n_best: sequences in the result, at most ``beam``.
        el_attention: cross-attention by EL-attention (Yan et al. 2021), see `asr.head.decoder`.
        lm, lm_weight, lm_word_bonus, lodr, lodr_weight, rescore_lm, rescore_weight,
            rescore_word_bonus, scorers: see `FusedSearch` and `FusedBeam`.

    Raises:
        InputError: a value is outside its range, ``n_best`` is above ``beam``, or ``lodr`` is given
            without ``lm``.
    """

    def __init__(
        self,
        *,
        head: HybridHead,
        beam: BeamSize = 10,
        ctc_weight: CtcWeight = 0.3,
        length_bonus: Bonus = 0.0,
        tokens_per_step: Tokens | None = 20,
        max_length_ratio: Annotated[float, Range(0, 1, above=True)] = 1.0,
        n_best: BeamSize = 1,
        el_attention: bool = False,
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
        self.ctc_weight = ctc_weight
        self.length_bonus = length_bonus
        self.tokens_per_step = tokens_per_step
        self.max_length_ratio = max_length_ratio
        self.el_attention = el_attention
        self._stopped: list[int] = []  # per batch: utterances that reached the most tokens

    @property
    def notice(self) -> str:
        """One line on the stopped hypotheses so far; empty if there are none."""
        stopped = sum(self._stopped)
        if not stopped:
            return self.warning
        line = (
            f"decoder stopped in {stopped:,} chunk{'s' if stopped > 1 else ''} without an end "
            f"token, at the most tokens for the frames or at decode.max_length_ratio="
            f"{self.max_length_ratio:g}"
        )
        return f"{line}; {self.warning}" if self.warning else line

    @torch.no_grad()
    def search(self, outputs_BTX: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """Return up to ``beam`` sequences of each utterance, the best first."""
        log_probs_BTV, frames_BTD = self.head.split(outputs_BTX)
        lengths_B = lengths_B.to(outputs_BTX.device)
        decoder = self.head.decoder
        memory = decoder.memory(frames_BTD, lengths_B, by_frames=self.el_attention)
        ctc = CtcPrefixScores(log_probs_BTV, lengths_B) if self.ctc_weight else None
        scorers = [scorer.for_search() for scorer in self.scorers]
        now = _Beam.empty(len(lengths_B), lengths_B.device, ctc, scorers)
        endings = [Endings(self.n_best) for _ in lengths_B]
        is_open_B = lengths_B > 0
        first_B1 = torch.arange(len(lengths_B), device=lengths_B.device).unsqueeze(1)
        caches: list[LayerCache] | None = None
        most_B = (lengths_B * self.max_length_ratio).long()
        while bool(is_open_B.any()):
            _, width, num_tokens = now.ids_BKU.shape
            logits_NSV, caches = decoder(now.last_BK.view(-1, 1), memory, caches)
            scores_BKV = logits_NSV[:, -1].log_softmax(-1).double().view(*now.last_BK.shape, -1)
            room_BK = lengths_B.unsqueeze(1) - now.needed_BK
            room_BK = room_BK.masked_fill((num_tokens >= most_B).unsqueeze(1), 0)
            now, source_BK, is_end_BK = self._advance(now, scores_BKV, room_BK, ctc, scorers)
            rows_N = (source_BK + width * first_B1).flatten()
            caches = [tuple(kept[rows_N] for kept in cache) for cache in caches]
            is_open_B = self._collect(now, is_end_BK, endings, is_open_B)
        found = self.ordered([one.best(self.beam) for one in endings], lengths_B.device)
        if self.is_fused:
            lost = [one.lost(best[0].token_ids) for one, best in zip(endings, found, strict=True)]
            self.compare_with_audio(lost, [len(best[0].token_ids) for best in found])
        return found

    def _advance(
        self,
        now: _Beam,
        scores_BKV: Tensor,
        room_BK: Tensor,
        ctc: CtcPrefixScores | None,
        scorers: Sequence[TokenScorer],
    ) -> tuple[_Beam, Tensor, Tensor]:
        """Extend hypotheses by one token; return the new beam, its parents, and which ones end."""
        w, beam = self.ctc_weight, now.last_BK.shape[1]
        num_tokens = min(self.tokens_per_step or self.head.vocab_size, self.head.vocab_size - 1)
        top_BKC, ids_BKC = scores_BKV[..., 1:].topk(num_tokens)
        ids_BKC = ids_BKC + 1
        end_BK = scores_BKV[..., BOUNDARY_ID]
        needed_BKC = 1 + (ids_BKC == now.last_BK.unsqueeze(2)).long()
        attention_BKC = now.attention_BK.unsqueeze(2) + top_BKC
        ended_BK = now.attention_BK + end_BK
        longer_BKC, total_BK, following = attention_BKC, ended_BK, None
        if ctc is not None and now.sums is not None:
            psi_BKC, following = ctc.extend(now.sums, now.last_BK, ids_BKC)
            longer_BKC = (1 - w) * attention_BKC + w * psi_BKC
            total_BK = (1 - w) * ended_BK + w * now.sums.total
        length = now.ids_BKU.shape[2]
        columns = [states_BK.unsqueeze(2) for states_BK in now.states]
        scored_BKC, states = advance_all(scorers, columns, ids_BKC)
        added_BKC = now.added_BK.unsqueeze(2).expand_as(top_BKC) + scored_BKC
        ended_added_BK = now.added_BK + finish_all(scorers, now.states)
        longer_BKC = longer_BKC + self.length_bonus * (length + 1) + added_BKC
        total_BK = total_BK + self.length_bonus * length + ended_added_BK
        longer_BKC = longer_BKC.masked_fill(needed_BKC > room_BK.unsqueeze(2), _NEVER)
        is_dead_BK = now.score_BK == _NEVER
        # A hypothesis that cannot be extended ends, however improbable the end token is.
        joined = torch.cat([total_BK, longer_BKC.flatten(1)], 1)
        joined = joined.masked_fill(
            torch.cat([is_dead_BK, is_dead_BK.repeat_interleave(num_tokens, 1)], 1), _NEVER
        )
        score_BK, chosen_BK = joined.topk(min(self.beam, joined.shape[1]))
        is_end_BK = chosen_BK < beam
        place_BK = (chosen_BK - beam).clamp(min=0)
        source_BK = torch.where(is_end_BK, chosen_BK, place_BK // num_tokens)

        def chosen(of_ended_BK: Tensor, of_longer_BKC: Tensor) -> Tensor:
            of_ended, of_longer = of_ended_BK.gather(1, source_BK), of_longer_BKC.flatten(1)
            return torch.where(is_end_BK, of_ended, of_longer.gather(1, place_BK))

        token_BK = ids_BKC.flatten(1).gather(1, place_BK).masked_fill(is_end_BK, BOUNDARY_ID)
        needed_BK = now.needed_BK.gather(1, source_BK) + needed_BKC.flatten(1).gather(1, place_BK)
        ids_BKU = now.ids_BKU.gather(1, source_BK.unsqueeze(2).expand(-1, -1, length))
        is_stopped_BK = ~(longer_BKC > _NEVER).any(-1) & (end_BK < top_BKC[..., 0])
        best_BK = torch.maximum(end_BK, top_BKC[..., 0])
        return (
            _Beam(
                ids_BKU=torch.cat([ids_BKU, token_BK.unsqueeze(2)], 2),
                attention_BK=chosen(ended_BK, attention_BKC),
                score_BK=score_BK,
                needed_BK=needed_BK,
                sums=None if following is None else CtcPrefixScores.pick(following, place_BK),
                is_stopped_BK=is_stopped_BK.gather(1, source_BK) & is_end_BK,
                added_BK=chosen(ended_added_BK, added_BKC),
                lost_BK=now.lost_BK.gather(1, source_BK)
                + chosen(best_BK - end_BK, best_BK.unsqueeze(2) - top_BKC),
                states=[
                    chosen(before_BK, after_BKC)
                    for before_BK, after_BKC in zip(now.states, states, strict=True)
                ],
            ),
            source_BK,
            is_end_BK,
        )

    def _collect(
        self, now: _Beam, is_end_BK: Tensor, endings: Sequence[Endings], is_open_B: Tensor
    ) -> Tensor:
        """Move ended hypotheses out of the beam; return which utterances (B,) continue."""
        alive_BK = now.score_BK.masked_fill(is_end_BK, _NEVER)
        scores, alive = now.score_BK.tolist(), alive_BK.amax(1).tolist()
        is_end, ids = is_end_BK.tolist(), now.ids_BKU[..., :-1].tolist()
        stopped, added, lost = (
            one.tolist() for one in (now.is_stopped_BK, now.added_BK, now.lost_BK)
        )
        is_exact = self.length_bonus <= 0 and not self.scorers
        is_open = is_open_B.tolist()
        for row, ending in enumerate(endings):
            if not is_open[row]:
                continue
            for place, score in enumerate(scores[row]):
                if is_end[row][place] and score > _NEVER:
                    ending.found.append(
                        Ending(
                            score,
                            tuple(ids[row][place]),
                            stopped[row][place],
                            added[row][place],
                            lost[row][place],
                        )
                    )
            is_open[row] = not ending.is_final(alive[row], is_exact=is_exact)
            if not is_open[row]:
                self._stopped.append(int(ending.is_stopped))
        is_open_B = torch.tensor(is_open, device=is_open_B.device)
        now.score_BK = alive_BK.masked_fill(~is_open_B.unsqueeze(1), _NEVER)
        return is_open_B


@dataclass(slots=True)
class _Beam:
    """K hypotheses of each utterance.

    ``needed_BK`` counts the frames that CTC needs for them; ``score_BK`` is -inf for an empty
    place; ``is_stopped_BK`` is True for one that ended because it could not be extended.
    ``added_BK`` is the sum of the scorers, ``states`` (B, K) holds the state of each; ``lost_BK``
    is the log probability that tokens lose to the decoder's best.
    """

    ids_BKU: Tensor
    attention_BK: Tensor
    score_BK: Tensor
    needed_BK: Tensor
    sums: PrefixSums | None
    is_stopped_BK: Tensor
    added_BK: Tensor
    lost_BK: Tensor
    states: list[Tensor]

    @classmethod
    def empty(
        cls,
        batch: int,
        device: torch.device,
        ctc: CtcPrefixScores | None,
        scorers: Sequence[TokenScorer],
    ) -> _Beam:
        """Make a beam with one hypothesis without tokens."""
        zeros_B1 = torch.zeros(batch, 1, dtype=torch.float64, device=device)
        return cls(
            ids_BKU=torch.zeros(batch, 1, 0, dtype=torch.int64, device=device),
            attention_BK=zeros_B1,
            score_BK=zeros_B1,
            needed_BK=torch.zeros(batch, 1, dtype=torch.int64, device=device),
            sums=None if ctc is None else ctc.start(),
            is_stopped_BK=zeros_B1.bool(),
            added_BK=zeros_B1,
            lost_BK=zeros_B1,
            states=[torch.full((batch, 1), one.start, device=device) for one in scorers],
        )

    @property
    def last_BK(self) -> Tensor:  # noqa: N802
        """Last token of each hypothesis; the boundary token for an empty one."""
        if not self.ids_BKU.shape[2]:
            return torch.full_like(self.needed_BK, BOUNDARY_ID)
        return self.ids_BKU[..., -1]
