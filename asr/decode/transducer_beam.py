"""Beam search of a transducer, frame by frame, with at most one token per frame.

In every frame a hypothesis emits a blank or one token (the restriction of Kang et al. 2022, "Fast
and parallel decoding for transducer"). Equal token sequences are merged into one hypothesis, with
the sum over its restricted alignments. Only a hypothesis that emits a blank can equal one that
emits a token, so comparing K x K hashes finds every such pair, as in `asr.decode.prefix_beam`.

Shape legend: B batch, T frames, J joint width, V vocabulary, K hypotheses of a beam, C candidate
tokens, N = B * K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.decode.fusion import FusedBeam
from asr.decode.prefix_beam import NEVER, Move, Sequences, Trace
from asr.decode.transducer_paths import ScoredPath, in_new_order, trace_back
from asr.decode.transducer_search import Emissions, TransducerSearch
from asr.errors import InputError
from asr.head.ctc import BLANK_ID
from asr.head.predictor import START_ID, State
from asr.head.transducer import TransducerHead
from asr.lm.automaton import TokenScorer
from asr.ranges import BeamSize, Bonus, Tokens, Weight, in_ranges
from asr.types import Hypothesis, ScoredTokens


@in_ranges("decode")
class TransducerBeam(TransducerSearch, FusedBeam):
    """Search for the most probable token sequences of RNN-T.

    Args:
        beam: hypotheses kept after every frame.
        tokens_per_frame: number of most probable tokens that may extend a hypothesis; null: all
            tokens.
        n_best: sequences in the result, at most ``beam``.
        lm, lm_weight, lm_word_bonus, lodr, lodr_weight, rescore_lm, rescore_weight,
            rescore_word_bonus, scorers: see `FusedSearch` and `FusedBeam`.

    Raises:
        InputError: a value is outside its range, ``lodr`` is given without ``lm``, or the head is
            TDT, where hypotheses are at different frames.
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
                f"decode.beam={beam}: beam search goes frame by frame, which excludes "
                f"head.durations={[*head.durations]} (TDT); allowed: decode=transducer"
            )
        TransducerSearch.__init__(self, head)
        FusedBeam.__init__(
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
        """One line on improbable texts so far; empty if there are none."""
        return self.warning

    def label(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Emissions]:
        """Return the tokens of each utterance's best sequence, with the n-best list."""
        return self.labelled(self._found(outputs_BTJ, lengths_B), lengths_B)

    def online(self) -> OnlineTransducerBeam:
        """Return a search of a new stream; see `asr.decode.online`."""
        return OnlineTransducerBeam(self)

    def search(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """Return up to ``beam`` sequences of each utterance, the best first."""
        return [[one.scored for one in listed] for listed in self._found(outputs_BTJ, lengths_B)]

    def labelled(self, found: Sequence[Sequence[ScoredPath]], lengths_B: Tensor) -> list[Emissions]:
        """Turn sequences found in frames into the labels that `label` returns."""
        if self.is_fused:
            best = [listed[0] for listed in found]
            self.compare_with_audio(
                [one.lost for one in best], [len(one.scored.token_ids) for one in best]
            )
        return [
            listed[0].emissions(length, [one.scored for one in listed[: self.n_best]])
            for listed, length in zip(found, lengths_B.tolist(), strict=True)
        ]

    def _found(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[list[ScoredPath]]:
        hypotheses = _Search(self, len(lengths_B), outputs_BTJ.device)
        hypotheses.advance(outputs_BTJ, lengths_B)
        return hypotheses.found()


class _Search:
    """The beam of a batch, advanced by any number of frames at a time."""

    def __init__(self, search: TransducerBeam, batch: int, device: torch.device) -> None:
        self._search = search
        self._scorers = [scorer.for_search() for scorer in search.scorers]
        with torch.no_grad():
            self._now = _Hypotheses.empty(search.head, batch, search.beam, self._scorers, device)
        self._moves: list[Move] = []
        self._scores: list[Tensor] = []  # (B, K) of every move
        self._lost: list[Tensor] = []  # (B, K) less than the audio's best move
        self._trace = Trace()

    @torch.no_grad()
    def advance(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> None:
        """Search more frames of each utterance."""
        lengths_B = lengths_B.to(outputs_BTJ.device)
        for frame in range(int(lengths_B.max()) if len(lengths_B) else 0):
            self._now, move, scores_BK, lost_BK = self._step(
                self._now, outputs_BTJ[:, frame], frame < lengths_B
            )
            self._moves.append(move)
            self._scores.append(scores_BK)
            self._lost.append(lost_BK)

    def found(self) -> list[list[ScoredPath]]:
        """Return the sequences of each utterance, best first, including end scores."""
        now = self._now
        steps = list(zip(self._moves, self._scores, self._lost, strict=True))
        found = trace_back(steps, now.total, now.sequences.finished(self._scorers))
        orders = self._search.ordered(
            [[one.scored for one in each] for each in found], now.total.device
        )
        return [in_new_order(each, order) for each, order in zip(found, orders, strict=True)]

    def best(self) -> Hypothesis:
        """Return the best sequence of a batch of one, without end scores."""
        total_K = (self._now.total + self._now.sequences.added)[0]
        steps = self._trace.steps(self._moves, int(total_K.argmax()))
        frames = tuple(step.move for step in steps)
        scores = [self._scores[step.move][0, step.place] for step in steps]
        return Hypothesis(
            token_ids=tuple(step.token for step in steps),
            token_frames=frames,
            token_ends=tuple(frame + 1 for frame in frames),
            score=float(total_K.max()),
            token_scores=tuple(torch.stack(scores).tolist()) if scores else (),
        )

    def _step(
        self, now: _Hypotheses, frame_BJ: Tensor, is_valid_B: Tensor
    ) -> tuple[_Hypotheses, Move, Tensor, Tensor]:
        """Advance by one frame; return the beam, each move and its log probability (B, K).

        The last result (B, K) is the log probability that a move loses to the audio's best move.
        """
        head, beam = self._search.head, now.total.shape[1]
        logits_BKV = head.logits(frame_BJ.unsqueeze(1), now.predicted_BKJ)
        log_probs_BKV = logits_BKV.double().log_softmax(-1)
        nothing = torch.full_like(log_probs_BKV[0, 0], NEVER)
        nothing[BLANK_ID] = 0.0
        log_probs_BKV = torch.where(is_valid_B[:, None, None], log_probs_BKV, nothing)
        blank_BK = log_probs_BKV[..., BLANK_ID]
        num_tokens = min(self._search.tokens_per_frame or head.vocab_size, head.vocab_size - 1)
        top_BKC, ids_BKC = log_probs_BKV[..., 1:].topk(num_tokens)
        ids_BKC = ids_BKC + 1

        # Hypothesis i (second dimension) extended by the last token of j (third) equals j.
        those = now.sequences
        is_parent_BKK = those.hashes.unsqueeze(2) == those.parents.unsqueeze(1)
        by_last_BKK = log_probs_BKV.gather(2, those.last.unsqueeze(1).expand(-1, beam, -1))
        arriving_BKK = torch.where(is_parent_BKK, now.total.unsqueeze(2) + by_last_BKK, NEVER)
        stay_BK = torch.logaddexp(now.total + blank_BK, arriving_BKK.amax(1))

        is_last_BKKC = those.last[:, None, :, None] == ids_BKC.unsqueeze(2)
        is_in_beam_BKC = (is_parent_BKK.unsqueeze(3) & is_last_BKKC).any(2)
        longer_BKC = (now.total.unsqueeze(2) + top_BKC).masked_fill(is_in_beam_BKC, NEVER)
        candidates = those.candidates(ids_BKC, self._scorers)
        total = torch.cat([stay_BK, longer_BKC.flatten(1)], 1)
        scores = torch.cat([blank_BK, top_BKC.flatten(1)], 1)
        best, chosen_BK = (total + candidates.added).topk(beam)
        sequences, move = candidates.chosen(chosen_BK, best == NEVER)
        following = _Hypotheses(sequences, total.gather(1, chosen_BK), *self._predicted(now, move))
        score_BK = scores.gather(1, chosen_BK)
        lost_BK = log_probs_BKV.amax(-1).gather(1, move.source_BK) - score_BK
        return following, move, score_BK, lost_BK

    def _predicted(self, now: _Hypotheses, move: Move) -> tuple[Tensor, State]:
        """Return predictions (B, K, J) and predictor states of the next beam."""
        head, (batch, beam) = self._search.head, move.source_BK.shape
        first_B1 = beam * torch.arange(batch, device=move.source_BK.device).unsqueeze(1)
        rows_N = (first_B1 + move.source_BK).flatten()
        predicted_NJ = now.predicted_BKJ.flatten(0, 1)[rows_N]
        state = tuple(one[rows_N] for one in now.state)
        new_R = move.is_longer_BK.flatten().nonzero().squeeze(1)
        if len(new_R):
            vectors_RP, state_R = head.predictor.step(
                move.token_BK.flatten()[new_R], tuple(one[new_R] for one in state)
            )
            predicted_NJ[new_R] = head.project_predictor(vectors_RP)
            state = tuple(
                one.index_put((new_R,), new) for one, new in zip(state, state_R, strict=True)
            )
        return predicted_NJ.view(batch, beam, -1), state


class OnlineTransducerBeam:
    """Beam search of one stream; see `asr.decode.online.OnlineSearch`."""

    def __init__(self, search: TransducerBeam) -> None:
        self._search = search
        self._outputs: list[Tensor] = []
        self._hypotheses: _Search | None = None

    def advance(self, outputs_TJ: Tensor) -> None:
        """Search more frames."""
        if self._hypotheses is None:
            self._hypotheses = _Search(self._search, 1, outputs_TJ.device)
        self._hypotheses.advance(outputs_TJ[None], torch.tensor([len(outputs_TJ)]))
        self._outputs.append(outputs_TJ)

    def best(self) -> Hypothesis:
        """Return the best hypothesis."""
        assert self._hypotheses is not None, "asked before the first frame"
        return self._hypotheses.best()

    path = best

    def labels(self, num_frames: int) -> Emissions:
        """Return the labels of the first ``num_frames``; search again if there are more frames."""
        outputs_1TJ = torch.cat(self._outputs)[None]
        lengths_1 = torch.tensor([num_frames])
        if num_frames < outputs_1TJ.shape[1]:
            return self._search.label(outputs_1TJ[:, :num_frames], lengths_1)[0]
        assert self._hypotheses is not None, "asked before the first frame"
        return self._search.labelled(self._hypotheses.found(), lengths_1)[0]


@dataclass(slots=True)
class _Hypotheses:
    """The beam of a transducer: ``total`` (B, K), log sums over alignments.

    ``state`` is the predictor's state, with N rows.
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
        """Make a beam with the empty sequence at probability 1."""
        sequences = Sequences.empty(batch, beam, scorers, device)
        start_N = torch.full((batch * beam,), START_ID, device=device)
        vectors_NP, state = head.predictor.step(start_N, head.predictor.start(len(start_N), device))
        return cls(
            sequences,
            torch.full_like(sequences.added, NEVER).masked_fill(sequences.hashes == 0, 0.0),
            head.project_predictor(vectors_NP).view(batch, beam, -1),
            state,
        )
