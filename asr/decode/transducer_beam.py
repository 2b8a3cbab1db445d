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
from asr.decode.prefix_beam import FACTOR, NEVER, NO_PARENT, NO_PREFIX, NO_TOKEN
from asr.decode.transducer import Emissions, TransducerGreedy
from asr.errors import InputError
from asr.head.lattice import BLANK_ID
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
        if self.scorers or self.rescorer is not None:
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
        for scorer, states_BK in zip(scorers, now.states, strict=True):
            now.added = now.added + scorer.finish(states_BK)
        found = _read_out(steps, now)
        orders = self.ordered([[one.scored for one in each] for each in found], outputs_BTJ.device)
        return [_in_order(each, order) for each, order in zip(found, orders, strict=True)]

    def _advance(
        self,
        now: _Hypotheses,
        frame_BJ: Tensor,
        is_valid_B: Tensor,
        scorers: Sequence[TokenScorer],
    ) -> tuple[_Hypotheses, tuple[Tensor, Tensor, Tensor]]:
        """The beam behind one more frame; with source, token and log probability of each move."""
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
        is_parent_BKK = now.hashes.unsqueeze(2) == now.parents.unsqueeze(1)
        by_last_BKK = log_probs_BKV.gather(2, now.last.unsqueeze(1).expand(-1, beam, -1))
        arriving_BKK = torch.where(is_parent_BKK, now.total.unsqueeze(2) + by_last_BKK, NEVER)
        stay_BK = torch.logaddexp(now.total + blank_BK, arriving_BKK.amax(1))

        is_last_BKKC = now.last[:, None, :, None] == ids_BKC.unsqueeze(2)
        is_in_beam_BKC = (is_parent_BKK.unsqueeze(3) & is_last_BKKC).any(2)
        longer_BKC = (now.total.unsqueeze(2) + top_BKC).masked_fill(is_in_beam_BKC, NEVER)
        advanced = [
            scorer.advance(states_BK.unsqueeze(2), ids_BKC)
            for scorer, states_BK in zip(scorers, now.states, strict=True)
        ]
        added_BKC = now.added.unsqueeze(2).expand(-1, -1, num_tokens)
        for scores_BKC, _ in advanced:
            added_BKC = added_BKC + scores_BKC
        added = torch.cat([now.added, added_BKC.flatten(1)], 1)
        total = torch.cat([stay_BK, longer_BKC.flatten(1)], 1)
        moves = torch.cat([blank_BK, top_BKC.flatten(1)], 1)

        best, chosen_BK = (total + added).topk(beam)
        is_longer_BK = chosen_BK >= beam
        extension_BK = (chosen_BK - beam).clamp_min(0)
        source_BK = torch.where(is_longer_BK, extension_BK // num_tokens, chosen_BK)
        token_BK = ids_BKC.flatten(1).gather(1, extension_BK)
        predicted_BKJ, state = self._predicted(now, source_BK, token_BK, is_longer_BK)
        hashes = now.hashes.gather(1, source_BK)
        is_empty = best == NEVER
        following = _Hypotheses(
            total=total.gather(1, chosen_BK),
            added=added.gather(1, chosen_BK),
            last=torch.where(is_longer_BK, token_BK, now.last.gather(1, source_BK)),
            hashes=torch.where(is_longer_BK, hashes * FACTOR + (token_BK + 1), hashes).masked_fill(
                is_empty, NO_PREFIX
            ),
            parents=torch.where(is_longer_BK, hashes, now.parents.gather(1, source_BK)).masked_fill(
                is_empty, NO_PARENT
            ),
            states=[
                torch.cat([states_BK, after_BKC.flatten(1)], 1).gather(1, chosen_BK)
                for states_BK, (_, after_BKC) in zip(now.states, advanced, strict=True)
            ],
            predicted_BKJ=predicted_BKJ,
            state=state,
        )
        written_BK = torch.where(is_longer_BK, token_BK, NO_TOKEN)
        return following, (source_BK, written_BK, moves.gather(1, chosen_BK))

    def _predicted(
        self, now: _Hypotheses, source_BK: Tensor, token_BK: Tensor, is_longer_BK: Tensor
    ) -> tuple[Tensor, State]:
        """Predictions and predictor states of the next beam."""
        batch, beam = source_BK.shape
        first_B1 = beam * torch.arange(batch, device=source_BK.device).unsqueeze(1)
        rows_N = (first_B1 + source_BK).flatten()
        predicted_NJ = now.predicted_BKJ.flatten(0, 1)[rows_N]
        state = tuple(one[rows_N] for one in now.state)
        new_R = is_longer_BK.flatten().nonzero().squeeze(1)
        if len(new_R):
            vectors_RP, state_R = self.head.predictor.step(
                token_BK.flatten()[new_R], tuple(one[new_R] for one in state)
            )
            predicted_NJ[new_R] = self.head.project_predictor(vectors_RP)
            state = tuple(
                one.index_put((new_R,), new) for one, new in zip(state, state_R, strict=True)
            )
        return predicted_NJ.view(batch, beam, -1), state


@dataclass(slots=True)
class _Hypotheses:
    """K hypotheses of each utterance, (B, K) each.

    ``total`` is the log sum over alignments, ``added`` what the scorers have added; ``state`` is
    the predictor's, of N rows.
    """

    total: Tensor
    added: Tensor
    last: Tensor
    hashes: Tensor
    parents: Tensor
    states: list[Tensor]
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

        def full(value: float, dtype: torch.dtype) -> Tensor:
            return torch.full((batch, beam), value, dtype=dtype, device=device)

        total, hashes = full(NEVER, torch.float64), full(NO_PREFIX, torch.int64)
        total[:, 0], hashes[:, 0] = 0.0, 0
        start_N = torch.full((batch * beam,), START_ID, device=device)
        vectors_NP, state = head.predictor.step(start_N, head.predictor.start(len(start_N), device))
        return cls(
            total=total,
            added=full(0.0, torch.float64),
            last=full(0, torch.int64),
            hashes=hashes,
            parents=full(NO_PARENT, torch.int64),
            states=[full(scorer.start, torch.int64) for scorer in scorers],
            predicted_BKJ=head.project_predictor(vectors_NP).view(batch, beam, -1),
            state=state,
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
    steps: Sequence[tuple[Tensor, Tensor, Tensor]], now: _Hypotheses
) -> list[list[_Written]]:
    """Follow every hypothesis of the last beam back to its first frame."""
    score_BK, place_BK = (now.total + now.added).sort(dim=1, descending=True, stable=True)
    total, added = now.total.gather(1, place_BK).tolist(), now.added.gather(1, place_BK).tolist()
    place_BK = place_BK.cpu()
    batch, beam = place_BK.shape
    tokens_TBK = torch.full((len(steps), batch, beam), NO_TOKEN)
    moves_TBK = torch.zeros(len(steps), batch, beam)
    for frame in reversed(range(len(steps))):
        source_BK, written_BK, move_BK = (one.cpu() for one in steps[frame])
        tokens_TBK[frame] = written_BK.gather(1, place_BK)
        moves_TBK[frame] = move_BK.gather(1, place_BK).float()
        place_BK = source_BK.gather(1, place_BK)
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
            listed.append(_Written(scored, tuple(frames.tolist()), moves_TBK[:, row, place]))
        found.append(listed)
    return found
