"""Greedy search of a transducer by label looping (Bataev et al. 2024, arXiv 2406.06220).

The outer loop goes over tokens, the inner one over frames. While the best token is a blank, only
the joint network runs, for all utterances that still look for their next token. The predictor runs
once per token for all of them. After ``max_symbols`` tokens in a frame the search moves to the next
frame, so it always ends.

Language models and hotwords choose between tokens; the audio alone decides whether a token or a
blank is written, so a language model deletes no words (as in NGPU-LM, Bataev et al. 2025, arXiv
2505.22857).

Shape legend: B batch, R utterances still in search, T frames, J joint width, U tokens,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from asr.decode.fusion import FusedSearch
from asr.decode.transducer_search import Emissions, TransducerSearch
from asr.head.ctc import BLANK_ID
from asr.head.predictor import START_ID, State
from asr.head.transducer import TransducerHead
from asr.lm.automaton import TokenScorer, advance_all
from asr.ranges import Bonus, Range, Weight, in_ranges
from asr.types import Hypothesis

if TYPE_CHECKING:
    from asr.decode.online import OnlineSearch


@dataclass(frozen=True, slots=True)
class Written:
    """The state of a greedy search: its next frame, the predictor's output and its state.

    ``frame_B`` is counted from the first frame of the next block; a TDT step may skip frames of it.
    ``lost_B`` is the log probability that tokens lost to the audio's best; ``fused`` is None
    without scorers.
    """

    frame_B: Tensor
    predicted_BJ: Tensor
    state: State
    lost_B: Tensor
    fused: _Fused | None


@in_ranges("decode")
class TransducerGreedy(TransducerSearch, FusedSearch):
    """Greedy search: always the best token, and in TDT the best duration.

    Args:
        max_symbols: most tokens emitted at one frame.
        lm, lm_weight, lm_word_bonus, lodr, lodr_weight, scorers: see `FusedSearch`.

    Raises:
        InputError: a value is outside its range, or ``lodr`` is given without ``lm``.
    """

    def __init__(
        self,
        *,
        head: TransducerHead,
        max_symbols: Annotated[int, Range(1, 1000)] = 10,
        lm: str | None = None,
        lm_weight: Weight = 0.3,
        lm_word_bonus: Bonus = 0.0,
        lodr: str | None = None,
        lodr_weight: Weight = 0.2,
        scorers: Sequence[TokenScorer] = (),
    ) -> None:
        TransducerSearch.__init__(self, head)
        FusedSearch.__init__(
            self,
            lm=lm,
            lm_weight=lm_weight,
            lm_word_bonus=lm_word_bonus,
            lodr=lodr,
            lodr_weight=lodr_weight,
            scorers=scorers,
        )
        self.max_symbols = max_symbols

    @property
    def notice(self) -> str:
        """The warning if scorers outweigh the audio; empty if they do not."""
        return self.warning

    def online(self) -> OnlineSearch:
        """Return a search of a new stream; see `asr.decode.online`."""
        return OnlineTransducer(self)

    def label(self, outputs_BTJ: Tensor, lengths_B: Tensor) -> list[Emissions]:
        """Return the tokens emitted in each utterance."""
        start = self.begin(len(lengths_B), outputs_BTJ.device)
        found, after = self.go_on(outputs_BTJ, lengths_B, start)
        if self.is_fused:
            self.compare_with_audio(after.lost_B.tolist(), [len(one.ids_U) for one in found])
        return [
            replace(one, ends_U=one.ends_U.clamp(max=length))
            for one, length in zip(found, lengths_B.tolist(), strict=True)
        ]

    @torch.no_grad()
    def begin(self, batch: int, device: torch.device) -> Written:
        """Return the state before the first frame."""
        start_B = torch.full((batch,), START_ID, device=device)
        predicted_BP, state = self.head.predictor.step(
            start_B, self.head.predictor.start(batch, device)
        )
        return Written(
            torch.zeros_like(start_B),
            self.head.project_predictor(predicted_BP),
            state,
            torch.zeros(batch, device=device),
            _Fused.start(self.scorers, batch, self.head.vocab_size, device),
        )

    @torch.no_grad()
    def go_on(
        self, outputs_BTJ: Tensor, lengths_B: Tensor, before: Written
    ) -> tuple[list[Emissions], Written]:
        """Search more frames; return the tokens written there and the new state.

        A token may end after the last frame.
        """
        head, device = self.head, outputs_BTJ.device
        scores_BT = torch.zeros(outputs_BTJ.shape[:2], device=device)
        lost_B, fused = before.lost_B.clone(), before.fused
        written: list[tuple[Tensor, ...]] = []
        frame_B, predicted_BJ, state = before.frame_B.clone(), before.predicted_BJ, before.state
        predicted_BJ = predicted_BJ.clone()
        ids_B = torch.full_like(frame_B, START_ID)
        num_at_frame_B = torch.zeros_like(frame_B)
        lengths_B = lengths_B.to(device)
        rows_R = (frame_B < lengths_B).nonzero().squeeze(1)
        while len(rows_R):
            wrote, wrote_scores = [], []
            while len(rows_R):
                at_R = frame_B[rows_R]
                score_R, id_R, duration_R, lost_R = self._best(
                    outputs_BTJ[rows_R, at_R],
                    predicted_BJ[rows_R],
                    None if fused is None else fused.added_BV[rows_R],
                )
                scores_BT[rows_R, at_R] += score_R
                lost_B[rows_R] += lost_R
                is_token_R = id_R != BLANK_ID
                num_R = num_at_frame_B[rows_R] + is_token_R
                is_full_R = num_R >= self.max_symbols
                step_R = torch.where(is_token_R & ~is_full_R, duration_R, duration_R.clamp(min=1))
                frame_B[rows_R] = at_R + step_R
                num_at_frame_B[rows_R] = num_R.masked_fill(step_R > 0, 0)
                wrote.append(
                    torch.stack([rows_R, id_R, at_R, at_R + duration_R.clamp(min=1)])[:, is_token_R]
                )
                wrote_scores.append(score_R[is_token_R])
                rows_R = rows_R[~is_token_R]
                rows_R = rows_R[frame_B[rows_R] < lengths_B[rows_R]]
            found = torch.cat(wrote, 1)
            written.append((*found.cpu(), torch.cat(wrote_scores).cpu()))
            rows_R = found[0]
            if len(rows_R):
                ids_B[rows_R] = found[1]
                predicted_RP, state_R = head.predictor.step(
                    ids_B[rows_R], tuple(one[rows_R] for one in state)
                )
                predicted_BJ[rows_R] = head.project_predictor(predicted_RP)
                state = tuple(
                    one.index_put((rows_R,), new) for one, new in zip(state, state_R, strict=True)
                )
                fused = None if fused is None else fused.written(rows_R, found[1])
            rows_R = rows_R[frame_B[rows_R] < lengths_B[rows_R]]
        after = Written((frame_B - lengths_B).clamp(min=0), predicted_BJ, state, lost_B, fused)
        return self._by_utterance(scores_BT.cpu(), lengths_B.cpu(), written), after

    def _best(
        self, frames_RJ: Tensor, predicted_RJ: Tensor, added_RV: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log probability, token and duration of the best step; in RNN-T a blank lasts 1.

        The last result is the log probability that the token loses to the audio's best.
        """
        logits_RX = self.head.logits(frames_RJ, predicted_RJ)
        tokens_RV = logits_RX[:, : self.head.vocab_size].log_softmax(-1)
        score_R, id_R = tokens_RV.max(-1)
        lost_R = torch.zeros_like(score_R)
        if added_RV is not None:
            wanted_R = (tokens_RV + added_RV)[:, 1:].argmax(-1) + 1
            id_R = torch.where(id_R == BLANK_ID, id_R, wanted_R)
            chosen_R = tokens_RV.gather(1, id_R.unsqueeze(1)).squeeze(1)
            lost_R, score_R = score_R - chosen_R, chosen_R
        if not self.head.durations:
            return score_R, id_R, (id_R == BLANK_ID).long(), lost_R
        durations_D = torch.tensor(self.head.durations, device=id_R.device)
        lasting_RD = logits_RX[:, self.head.vocab_size :].log_softmax(-1)
        lasting_R, index_R = lasting_RD.max(-1)
        return score_R + lasting_R, id_R, durations_D[index_R], lost_R

    @staticmethod
    def _by_utterance(
        scores_BT: Tensor, lengths_B: Tensor, written: Sequence[tuple[Tensor, ...]]
    ) -> list[Emissions]:
        none_U = torch.zeros(0, dtype=torch.int64)
        rows, ids, frames, ends, scores = (
            (torch.cat(part) for part in zip(*written, strict=True)) if written else [none_U] * 5
        )
        found = []
        for row, length in enumerate(lengths_B.tolist()):
            mine = rows == row
            found.append(
                Emissions(
                    scores_BT[row, :length],
                    ids[mine],
                    frames[mine],
                    ends[mine],
                    scores[mine].float(),
                )
            )
        return found


@dataclass(frozen=True, slots=True)
class _Fused:
    """The scores (B, V) that scorers add to each token after what was written, and next states."""

    scorers: Sequence[TokenScorer]
    added_BV: Tensor
    following: Sequence[Tensor]

    @classmethod
    def start(
        cls, scorers: Sequence[TokenScorer], batch: int, vocab_size: int, device: torch.device
    ) -> _Fused | None:
        """Return the scores of first tokens; None without scorers."""
        if not scorers:
            return None
        scorers = [scorer.for_search() for scorer in scorers]
        zeros_BV = torch.zeros(batch, vocab_size, dtype=torch.float64, device=device)
        states = [torch.full((batch,), scorer.start, device=device) for scorer in scorers]
        empty = cls(scorers, zeros_BV, [zeros_BV.long()] * len(scorers))
        return empty._at(torch.arange(batch, device=device), states)

    def written(self, rows_R: Tensor, ids_R: Tensor) -> _Fused:
        """Return the scores after one more token of the utterances ``rows_R``."""
        return self._at(rows_R, [states_BV[rows_R, ids_R] for states_BV in self.following])

    def _at(self, rows_R: Tensor, states: Sequence[Tensor]) -> _Fused:
        tokens_V = torch.arange(self.added_BV.shape[1], device=self.added_BV.device)
        columns = [states_R.unsqueeze(1) for states_R in states]
        added_RV, following = advance_all(self.scorers, columns, tokens_V)
        assert isinstance(added_RV, Tensor)
        return _Fused(
            self.scorers,
            self.added_BV.index_put((rows_R,), added_RV),
            [
                before_BV.index_put((rows_R,), after_RV)
                for before_BV, after_RV in zip(self.following, following, strict=True)
            ],
        )


class OnlineTransducer:
    """Greedy search of one stream; see `asr.decode.online.OnlineSearch`."""

    def __init__(self, search: TransducerGreedy) -> None:
        self._search = search
        self._emissions = search.blanks(0)
        self._written: Written | None = None

    def advance(self, outputs_TJ: Tensor) -> None:
        """Search more frames."""
        if self._written is None:
            self._written = self._search.begin(1, outputs_TJ.device)
        lengths_1 = torch.tensor([len(outputs_TJ)])
        (found,), self._written = self._search.go_on(outputs_TJ[None], lengths_1, self._written)
        self._emissions = self._emissions.joined([found])

    def best(self) -> Hypothesis:
        """Return the hypothesis of all tokens."""
        return self._search.collapse(self.labels(len(self._emissions)))

    path = best

    def labels(self, num_frames: int) -> Emissions:
        """Return the labels of the first ``num_frames``; the search never looks ahead."""
        return self._emissions[:num_frames]
