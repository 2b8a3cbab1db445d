"""Beam search of a transducer, frame by frame, with at most one token a frame.

Every frame a hypothesis writes a blank or one token (the restriction of Kang et al. 2022, "Fast and
parallel decoding for transducer"). Equal token sequences are one hypothesis, whose probability is
the sum over its alignments so restricted. Only a hypothesis that writes a blank can be equal to one
that writes a token, so a comparison of K x K hashes finds every such pair, as in
`asr.decode.prefix_beam`.

Shape legend: B batch, T frames, J joint width, V vocabulary, K hypotheses of a beam, C tokens of a
frame, N = B * K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asr.decode.fusion import FusedSearch
from asr.decode.greedy import Alternatives
from asr.decode.prefix_beam import NEVER, NO_TOKEN, Move, Sequences
from asr.decode.transducer import Emissions, TransducerGreedy
from asr.errors import InputError
from asr.head.ctc import BLANK_ID
from asr.head.predictor import START_ID, State
from asr.head.transducer import TransducerHead
from asr.lm.automaton import TokenScorer
from asr.ranges import BeamSize, Bonus, Tokens, Weight, in_ranges
from asr.types import ScoredTokens


@in_ranges("decode")
class TransducerBeam(TransducerGreedy, FusedSearch):
    """The most probable token sequences of RNN-T.

    Args:
        beam: hypotheses kept after every frame.
        tokens_per_frame: the most probable tokens behind a hypothesis that may extend it; null: all
            of them.
        n_best: sequences that are handed on, at most ``beam``.
        lm, lm_weight, lm_word_bonus, lodr, lodr_weight, rescore_lm, rescore_weight,
            rescore_word_bonus, scorers: see `FusedSearch`.

    Raises:
        InputError: a value outside its range, ``lodr`` without ``lm``, or a head of TDT, whose
            hypotheses are at different frames.
    """

    moves_together = True

    def __init__(
        self,
        *,
        head: TransducerHead,
        beam: BeamSize = 4,
        tokens_per_frame: Tokens | None = 20,
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
        if head.durations:
            raise InputError(
                f"decode.beam={beam}: its hypotheses go frame by frame, and those of "
                f"head.durations={[*head.durations]} do not; allowed: decode=transducer"
            )
        TransducerGreedy.__init__(self, head=head, max_symbols=1)
        FusedSearch.__init__(
            self,
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
        self.beam = beam
        self.tokens_per_frame = tokens_per_frame
        self.n_best = n_best

    @property
    def notice(self) -> str:
        """What is to be said of the utterances so far, one line; empty if there is nothing."""
        return self.warning

    def label(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Emissions]:
        """Where the best sequence of each utterance was written, with its ``n_best`` sequences."""
        found = self._found(outputs_BTJ, lengths_B)
        if self.is_fused:
            heard = super().label(outputs_BTJ, lengths_B)
            self.compare_with_audio(
                [[one.scored for one in listed] for listed in found],
                [float(one.scores_T.double().sum()) for one in heard],
                [len(one.ids_U) for one in heard],
            )
        return [
            listed[0].emissions(length, [one.scored for one in listed[: self.n_best]])
            for listed, length in zip(found, lengths_B.tolist(), strict=True)
        ]

    def search(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """The sequences of each utterance, the best first, at most ``beam``."""
        return [[one.scored for one in listed] for listed in self._found(outputs_BTJ, lengths_B)]

    @torch.no_grad()
    def _found(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[list[_Written]]:
        lengths_B = lengths_B.to(outputs_BTJ.device)
        scorers = [scorer.for_search() for scorer in self.scorers]
        now = _Hypotheses.empty(self.head, len(lengths_B), self.beam, scorers, outputs_BTJ.device)
        steps = []
        for frame in range(int(lengths_B.max()) if len(lengths_B) else 0):
            now, step = self._advance(now, outputs_BTJ[:, frame], frame < lengths_B, scorers)
            steps.append(step)
        found = _read_out(steps, now.total, now.sequences.finished(scorers))
        orders = self.ordered([[one.scored for one in each] for each in found], outputs_BTJ.device)
        return [_in_order(each, order) for each, order in zip(found, orders, strict=True)]

    def _advance(
        self,
        now: _Hypotheses,
        frame_BJ: Tensor,
        is_valid_B: Tensor,
        scorers: Sequence[TokenScorer],
    ) -> tuple[_Hypotheses, tuple[Move, Tensor]]:
        """The beam behind one more frame; with each move and its log probability (B, K)."""
        beam = now.total.shape[1]
        logits_BKV = self.head.logits(frame_BJ.unsqueeze(1), now.predicted_BKJ)
        log_probs_BKV = logits_BKV.double().log_softmax(-1)
        nothing = torch.full_like(log_probs_BKV[0, 0], NEVER)
        nothing[BLANK_ID] = 0.0
        log_probs_BKV = torch.where(is_valid_B[:, None, None], log_probs_BKV, nothing)
        blank_BK = log_probs_BKV[..., BLANK_ID]
        num_tokens = min(self.tokens_per_frame or self.head.vocab_size, self.head.vocab_size - 1)
        top_BKC, ids_BKC = log_probs_BKV[..., 1:].topk(num_tokens)
        ids_BKC = ids_BKC + 1

        # A hypothesis i (second dimension) that becomes j (third) by the last token of j.
        those = now.sequences
        is_parent_BKK = those.hashes.unsqueeze(2) == those.parents.unsqueeze(1)
        by_last_BKK = log_probs_BKV.gather(2, those.last.unsqueeze(1).expand(-1, beam, -1))
        arriving_BKK = torch.where(is_parent_BKK, now.total.unsqueeze(2) + by_last_BKK, NEVER)
        stay_BK = torch.logaddexp(now.total + blank_BK, arriving_BKK.amax(1))

        is_last_BKKC = those.last[:, None, :, None] == ids_BKC.unsqueeze(2)
        is_in_beam_BKC = (is_parent_BKK.unsqueeze(3) & is_last_BKKC).any(2)
        longer_BKC = (now.total.unsqueeze(2) + top_BKC).masked_fill(is_in_beam_BKC, NEVER)
        candidates = those.candidates(ids_BKC, scorers)
        total = torch.cat([stay_BK, longer_BKC.flatten(1)], 1)
        scores = torch.cat([blank_BK, top_BKC.flatten(1)], 1)
        best, chosen_BK = (total + candidates.added).topk(beam)
        sequences, move = candidates.chosen(chosen_BK, best == NEVER)
        following = _Hypotheses(sequences, total.gather(1, chosen_BK), *self._predicted(now, move))
        return following, (move, scores.gather(1, chosen_BK))

    def _predicted(self, now: _Hypotheses, move: Move) -> tuple[Tensor, State]:
        """Predictions (B, K, J) and predictor states of the next beam."""
        batch, beam = move.source_BK.shape
        first_B1 = beam * torch.arange(batch, device=move.source_BK.device).unsqueeze(1)
        rows_N = (first_B1 + move.source_BK).flatten()
        predicted_NJ = now.predicted_BKJ.flatten(0, 1)[rows_N]
        state = tuple(one[rows_N] for one in now.state)
        new_R = move.is_longer_BK.flatten().nonzero().squeeze(1)
        if len(new_R):
            vectors_RP, state_R = self.head.predictor.step(
                move.token_BK.flatten()[new_R], tuple(one[new_R] for one in state)
            )
            predicted_NJ[new_R] = self.head.project_predictor(vectors_RP)
            state = tuple(
                one.index_put((new_R,), new) for one, new in zip(state, state_R, strict=True)
            )
        return predicted_NJ.view(batch, beam, -1), state


@dataclass(slots=True)
class _Hypotheses:
    """The beam of a transducer: ``total`` (B, K), log sums over alignments.

    ``state`` is the predictor's, of N rows.
    """

    sequences: Sequences
    total: Tensor
    predicted_BKJ: Tensor
    state: State

    @classmethod
    def empty(
        cls,
        head: TransducerHead,
        batch: int,
        beam: int,
        scorers: Sequence[TokenScorer],
        device: torch.device,
    ) -> _Hypotheses:
        """The empty sequence of every utterance, with a probability of one."""
        sequences = Sequences.empty(batch, beam, scorers, device)
        start_N = torch.full((batch * beam,), START_ID, device=device)
        vectors_NP, state = head.predictor.step(start_N, head.predictor.start(len(start_N), device))
        return cls(
            sequences,
            torch.full_like(sequences.added, NEVER).masked_fill(sequences.hashes == 0, 0.0),
            head.project_predictor(vectors_NP).view(batch, beam, -1),
            state,
        )


@dataclass(frozen=True, slots=True)
class _Written:
    """A sequence with its score, the frame of each token, and the log probability of each move."""

    scored: ScoredTokens
    frames: tuple[int, ...]
    scores_T: Tensor

    def emissions(self, num_frames: int, listed: Sequence[ScoredTokens]) -> Emissions:
        """Where the tokens were written, with the best sequences of the utterance."""
        frames_U = torch.tensor(self.frames, dtype=torch.int64)
        scores_T = self.scores_T[:num_frames]
        return Emissions(
            scores_T,
            torch.tensor(self.scored.token_ids, dtype=torch.int64),
            frames_U,
            frames_U + 1,
            scores_T[frames_U],
            (Alternatives(0, num_frames, tuple(listed)),),
        )


def _in_order(written: Sequence[_Written], order: Sequence[ScoredTokens]) -> list[_Written]:
    """The same sequences in another order, with the scores that they have there."""
    by_ids = {one.scored.token_ids: one for one in written}
    return [replace(by_ids[one.token_ids], scored=one) for one in order]


def _read_out(
    steps: Sequence[tuple[Move, Tensor]], total_BK: Tensor, added_BK: Tensor
) -> list[list[_Written]]:
    """Follow every hypothesis of the last beam back to its first frame."""
    score_BK, place_BK = (total_BK + added_BK).sort(dim=1, descending=True, stable=True)
    total, added = total_BK.gather(1, place_BK).tolist(), added_BK.gather(1, place_BK).tolist()
    place_BK = place_BK.cpu()
    batch, beam = place_BK.shape
    tokens_TBK = torch.full((len(steps), batch, beam), NO_TOKEN)
    scores_TBK = torch.zeros(len(steps), batch, beam)
    for frame in reversed(range(len(steps))):
        move, scores_BK = steps[frame]
        tokens_TBK[frame] = move.token_BK.cpu().gather(1, place_BK)
        scores_TBK[frame] = scores_BK.cpu().gather(1, place_BK).float()
        place_BK = move.source_BK.cpu().gather(1, place_BK)
    found = []
    for row, scores in enumerate(score_BK.tolist()):
        listed = []
        for place, score in enumerate(scores):
            if place and score == NEVER:
                continue
            tokens_T = tokens_TBK[:, row, place]
            frames = (tokens_T != NO_TOKEN).nonzero().squeeze(1)
            ids = tuple(tokens_T[frames].tolist())
            scored = ScoredTokens(ids, acoustic=total[row][place], added=added[row][place])
            listed.append(_Written(scored, tuple(frames.tolist()), scores_TBK[:, row, place]))
        found.append(listed)
    return found
