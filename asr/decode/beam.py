"""Beam search for a CTC head: settings, skipping of blank frames, and frame labels.

`asr.decode.prefix_beam` does the search itself.

Shape legend: B batch, T frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.align import align
from asr.decode.fusion import FusedBeam
from asr.decode.greedy import Alternatives, FrameLabels, GreedyDecoder
from asr.decode.prefix_beam import NEVER, PrefixSearch
from asr.lm.automaton import TokenScorer
from asr.ranges import BeamSize, Bonus, Share, Tokens, Weight, in_ranges
from asr.types import Hypothesis, ScoredTokens


@in_ranges("decode")
class BeamDecoder(GreedyDecoder, FusedBeam):
    """Search for CTC's most probable token sequences, each summed over its paths.

    The sums are exact without a limit on tokens and with a beam that holds every prefix. Frame
    labels are those of the most probable path of the best sequence, so words get times and chunks
    of long audio are joined as with greedy decoding.

    Args:
        beam: prefixes kept after every frame.
        tokens_per_frame: number of most probable tokens of a frame that may extend prefixes; null:
            all tokens. A prefix can always repeat its last token.
        skip_blank: in a run of frames whose blank has at least this probability, only the first is
            searched and the others count as blank; null: no frame is skipped.
        n_best: sequences in the result, at most ``beam``.
        lm, lm_weight, lm_word_bonus, lodr, lodr_weight, rescore_lm, rescore_weight,
            rescore_word_bonus, scorers: see `FusedSearch` and `FusedBeam`.
        blank_id: id of the blank.

    Raises:
        InputError: a value is outside its range, or ``lodr`` is given without ``lm``.
    """

    moves_together = True

    def __init__(
        self,
        *,
        beam: BeamSize = 10,
        tokens_per_frame: Tokens | None = 20,
        skip_blank: Share | None = None,
        n_best: BeamSize = 1,
        lm: str | None = None,
        lm_weight: Weight = 0.5,
        lm_word_bonus: Bonus = 0.5,
        lodr: str | None = None,
        lodr_weight: Weight = 0.2,
        rescore_lm: str | None = None,
        rescore_weight: Weight = 0.5,
        rescore_word_bonus: Bonus = 0.5,
        blank_id: int = 0,
        scorers: Sequence[TokenScorer] = (),
    ) -> None:
        GreedyDecoder.__init__(self, blank_id=blank_id)
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
        self.skip_blank = skip_blank
        self.n_best = n_best
        self._frames: list[tuple[int, int]] = []  # numbers searched and skipped, for every batch

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[FrameLabels]:
        """Label each utterance by the best path of its best sequence, with the n-best list."""
        if not log_probs_BTV.shape[1]:
            return [self.blanks(0) for _ in lengths_B]
        return self.labelled(self.search(log_probs_BTV, lengths_B), log_probs_BTV, lengths_B)

    def online(self) -> OnlineBeam:
        """Return a search of a new stream; see `asr.decode.online`."""
        return OnlineBeam(self)

    def labelled(
        self, found: list[list[ScoredTokens]], log_probs_BTV: Tensor, lengths_B: Tensor
    ) -> list[FrameLabels]:
        """Turn sequences found in these frames into the labels that `label` returns."""
        if self.is_fused:
            paths, num_tokens = best_paths(log_probs_BTV, lengths_B, self.blank_id)
            lost = [path - one[0].acoustic for path, one in zip(paths, found, strict=True)]
            self.compare_with_audio(lost, num_tokens)
        return labels_of(found, log_probs_BTV, lengths_B, self.n_best)

    def search(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """Return up to ``beam`` sequences of each utterance, the best first.

        Frames after an utterance's end are ignored.
        """
        log_probs_BTV, lengths_B, skipped_B = self._frames_to_search(
            log_probs_BTV.float(), lengths_B
        )
        prefixes = self.begin(len(lengths_B), log_probs_BTV.device)
        prefixes.advance(log_probs_BTV, skipped_B)
        return self.ordered(prefixes.found(), log_probs_BTV.device)

    def begin(self, batch: int, device: torch.device) -> PrefixSearch:
        """Return the beam before the first frame."""
        return PrefixSearch(
            batch,
            beam=self.beam,
            tokens_per_frame=self.tokens_per_frame,
            blank_id=self.blank_id,
            scorers=self.scorers,
            device=device,
        )

    @property
    def skipped(self) -> float:
        """Fraction of the frames so far that was skipped as blank."""
        skipped = sum(skipped for _, skipped in self._frames)
        return skipped / max(1, sum(map(sum, self._frames)))

    @property
    def notice(self) -> str:
        """One line on the skipped frames and improbable texts so far; empty if there are none."""
        lines = ["" if self.skip_blank is None else str(self), self.warning]
        return "; ".join(line for line in lines if line)

    def __str__(self) -> str:
        """Describe the settings and the skipped frames in one line."""
        tokens = "all" if self.tokens_per_frame is None else f"the best {self.tokens_per_frame}"
        line = f"beam search: {self.beam} prefixes, {tokens} tokens of a frame"
        if self.skip_blank is None:
            return line
        return (
            f"{line}, {100 * self.skipped:.1f} % of the frames skipped, whose blank has a "
            f"probability of {self.skip_blank:g} or more, as that of the frame before"
        )

    def _frames_to_search(
        self, log_probs_BTV: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Drop frames to skip; return the others, their number, and the skipped log probability.

        Frames after an utterance's end become blanks of probability 1, which change nothing.
        """
        _, num_frames, vocab_size = log_probs_BTV.shape
        lengths_B = lengths_B.to(log_probs_BTV.device)
        frames_T = torch.arange(num_frames, device=log_probs_BTV.device)
        is_valid_BT = frames_T < lengths_B.unsqueeze(1)
        nothing = log_probs_BTV.new_full((vocab_size,), NEVER)
        nothing[self.blank_id] = 0.0
        log_probs_BTV = torch.where(is_valid_BT.unsqueeze(-1), log_probs_BTV, nothing)
        is_skipped_BT, skipped_B = self.frames_to_skip(log_probs_BTV, is_valid_BT)
        if self.skip_blank is None:
            return log_probs_BTV, lengths_B, skipped_B
        is_kept_BT = is_valid_BT & ~is_skipped_BT
        order_BT = (~is_kept_BT).to(torch.int8).argsort(dim=1, stable=True)
        lengths_B = is_kept_BT.sum(1)
        order_BT = order_BT[:, : int(lengths_B.max())]
        kept = log_probs_BTV.gather(1, order_BT.unsqueeze(-1).expand(-1, -1, vocab_size))
        is_valid_BT = frames_T[: order_BT.shape[1]] < lengths_B.unsqueeze(1)
        return torch.where(is_valid_BT.unsqueeze(-1), kept, nothing), lengths_B, skipped_B

    def frames_to_skip(
        self, log_probs_BTV: Tensor, is_valid_BT: Tensor, was_sure_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the frames to skip (B, T), and the summed log probability of their blanks (B,).

        ``was_sure_B`` tells whether `is_sure` held for the frame before these; None: no such frame.
        """
        blank_BT = log_probs_BTV[..., self.blank_id]
        is_skipped_BT = self.is_sure(log_probs_BTV) & is_valid_BT
        before_BT = self.is_sure(log_probs_BTV).roll(1, 1)
        before_BT[:, :1] = False if was_sure_B is None else was_sure_B.unsqueeze(1)
        is_skipped_BT &= before_BT
        num_skipped = int(is_skipped_BT.sum())
        self._frames.append((int(is_valid_BT.sum()) - num_skipped, num_skipped))
        return is_skipped_BT, torch.where(is_skipped_BT, blank_BT, 0.0).double().sum(1)

    def is_sure(self, log_probs_BTV: Tensor) -> Tensor:
        """Return (B, T): whether the blank of a frame is at least as probable as ``skip_blank``."""
        blank_BT = log_probs_BTV[..., self.blank_id]
        if self.skip_blank is None:
            return torch.zeros_like(blank_BT, dtype=torch.bool)
        return blank_BT.exp() >= self.skip_blank


def best_paths(
    log_probs_BTV: Tensor, lengths_B: Tensor, blank_id: int
) -> tuple[list[float], list[int]]:
    """Return log probability and number of tokens of the best path of each utterance."""
    best_BT, ids_BT = log_probs_BTV.max(-1)
    frames_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    is_valid_BT = frames_T < lengths_B.to(ids_BT.device).unsqueeze(1)
    is_new_BT = (ids_BT != blank_id) & is_valid_BT
    is_new_BT[:, 1:] &= ids_BT[:, 1:] != ids_BT[:, :-1]
    best_path_B = best_BT.double().masked_fill(~is_valid_BT, 0.0).sum(1)
    return best_path_B.tolist(), is_new_BT.sum(1).tolist()


def labels_of(
    found: Sequence[Sequence[ScoredTokens]],
    log_probs_BTV: Tensor,
    lengths_B: Tensor,
    n_best: int,
) -> list[FrameLabels]:
    """Label each utterance by the best path of its first sequence; attach ``n_best`` sequences."""
    best = [torch.tensor(one[0].token_ids, dtype=torch.int64) for one in found]
    log_probs_BTV, lengths_B = log_probs_BTV.float().cpu(), lengths_B.cpu()
    ids_BT = align(
        log_probs_BTV,
        lengths_B,
        pad_sequence(best, batch_first=True),
        torch.tensor([len(one) for one in best]),
    )
    scores_BT = log_probs_BTV.gather(2, ids_BT.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return [
        FrameLabels(
            scores_BT[row, :length],
            ids_BT[row, :length],
            (Alternatives(0, length, tuple(found[row][:n_best])),),
        )
        for row, length in enumerate(lengths_B.tolist())
    ]


class OnlineBeam:
    """Beam search of one stream; see `asr.decode.online.OnlineSearch`.

    The best path decides where segments end: later frames cannot change it. The frame of a token
    is its most probable one, from the frame that added it to the frame that added the next token.
    """

    def __init__(self, search: BeamDecoder) -> None:
        self._search = search
        self._best_path = GreedyDecoder(blank_id=search.blank_id).online()
        self._log_probs: list[Tensor] = []  # of every block, (n, V)
        self._frames: list[int] = []  # that were searched, not skipped
        self._num_frames = 0
        self._was_sure: Tensor | None = None
        self._prefixes: PrefixSearch | None = None

    def advance(self, log_probs_TV: Tensor) -> None:
        """Search more frames."""
        log_probs_1TV = log_probs_TV[None].float()
        search = self._search
        if self._prefixes is None:
            self._prefixes = search.begin(1, log_probs_TV.device)
        is_valid_1T = torch.ones_like(log_probs_1TV[..., 0], dtype=torch.bool)
        is_skipped_1T, skipped_1 = search.frames_to_skip(log_probs_1TV, is_valid_1T, self._was_sure)
        self._was_sure = search.is_sure(log_probs_1TV)[:, -1]
        kept = (~is_skipped_1T[0]).nonzero().squeeze(1)
        self._prefixes.advance(log_probs_1TV[:, kept], skipped_1)
        self._frames += (self._num_frames + kept).tolist()
        self._num_frames += len(log_probs_TV)
        self._log_probs.append(log_probs_1TV[0])
        self._best_path.advance(log_probs_TV)

    def path(self) -> Hypothesis:
        """Return the hypothesis of the best path."""
        return self._best_path.best()

    def best(self) -> Hypothesis:
        """Return the hypothesis of the best prefix."""
        assert self._prefixes is not None, "asked before the first frame"
        steps = self._prefixes.best()
        tokens_U = np.array([step.token for step in steps], dtype=np.int64)
        first_U = np.array([self._frames[step.move] for step in steps], dtype=np.int64)
        token_of_T = np.searchsorted(first_U, np.arange(self._num_frames), side="right")
        ids_T = np.append(self._search.blank_id, tokens_U)[token_of_T]
        scores_T = self._scores_of(torch.from_numpy(ids_T))
        by_score_T = np.lexsort((-scores_T, token_of_T))  # of every token the best frame first
        frames_U = by_score_T[first_U]
        scores_U = scores_T[frames_U]
        return Hypothesis(
            token_ids=tuple(tokens_U.tolist()),
            token_frames=tuple(frames_U.tolist()),
            token_ends=tuple((frames_U + 1).tolist()),
            score=float(scores_U.sum()),
            token_scores=tuple(scores_U.tolist()),
        )

    def _scores_of(self, ids_T: Tensor) -> NDArray[np.float32]:
        """Return the log probability of a token of each frame."""
        ids_of = torch.split(ids_T.to(self._log_probs[0].device), list(map(len, self._log_probs)))
        scores_T = torch.cat(
            [
                block_TV.gather(1, ids.unsqueeze(1)).squeeze(1)
                for block_TV, ids in zip(self._log_probs, ids_of, strict=True)
            ]
        )
        found: NDArray[np.float32] = scores_T.cpu().numpy()
        return found

    def labels(self, num_frames: int) -> FrameLabels:
        """Return the labels of the first ``num_frames``; search again if there are more frames."""
        log_probs_1TV, lengths_1 = torch.cat(self._log_probs)[None], torch.tensor([num_frames])
        if num_frames < self._num_frames:
            return self._search.label(log_probs_1TV[:, :num_frames], lengths_1)[0]
        assert self._prefixes is not None, "asked before the first frame"
        found = self._search.ordered(self._prefixes.found(), log_probs_1TV.device)
        return self._search.labelled(found, log_probs_1TV, lengths_1)[0]
