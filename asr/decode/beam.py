"""Prefix beam search for CTC (Graves 2012, section 7.5.3; Hannun et al. 2014), on tensors.

A prefix is a sequence of tokens. Its probability is the sum over all paths that spell it, kept in
two parts: paths that end in a blank, and paths that end in its last token. An extended prefix that
is in the beam already is the same prefix, and both sums are added. Only an extension and a prefix
that stays can be equal, since all prefixes of a beam differ; so a comparison of K x K hashes finds
every such pair and nothing is sorted. Hashes have 64 bits.

All utterances of a batch and all prefixes of a beam move together, frame by frame, on any device.

Shape legend: B batch, T frames, V vocabulary, K prefixes of a beam, C tokens of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.align import align
from asr.decode.greedy import Alternatives, FrameLabels, GreedyDecoder
from asr.lm.automaton import TokenScorer
from asr.lm.lexicon import lm_scorer
from asr.ranges import BeamSize, Bonus, Share, Tokens, Weight, in_ranges
from asr.text.tokenizer import Tokenizer
from asr.types import ScoredTokens

_FACTOR = 6364136223846793005  # of the polynomial hash (Knuth's, modulo 2^64)
_NO_PREFIX, _NO_PARENT = -1, -2  # hashes of an empty place of the beam, and above the root
_NO_TOKEN = -1
_NEVER = float("-inf")


@dataclass(slots=True)
class _Prefixes:
    """K prefixes of each utterance: (B, K) each; ``states`` (B, K) of every scorer.

    ``blank`` and ``token`` are log sums over the paths that end in a blank and in the last token,
    ``added`` is what the scorers have added.
    """

    blank: Tensor
    token: Tensor
    added: Tensor
    last: Tensor
    hashes: Tensor
    parents: Tensor
    states: list[Tensor]

    @classmethod
    def empty(
        cls, batch: int, beam: int, scorers: Sequence[TokenScorer], device: torch.device
    ) -> _Prefixes:
        """The empty prefix of every utterance, with a probability of one."""

        def full(value: float, dtype: torch.dtype) -> Tensor:
            return torch.full((batch, beam), value, dtype=dtype, device=device)

        blank, hashes = full(_NEVER, torch.float64), full(_NO_PREFIX, torch.int64)
        blank[:, 0] = 0.0
        hashes[:, 0] = 0
        return cls(
            blank=blank,
            token=full(_NEVER, torch.float64),
            added=full(0.0, torch.float64),
            last=full(0, torch.int64),
            hashes=hashes,
            parents=full(_NO_PARENT, torch.int64),
            states=[full(scorer.start, torch.int64) for scorer in scorers],
        )


@in_ranges("decode")
class BeamDecoder(GreedyDecoder):
    """The most probable token sequences of CTC, summed over all their paths.

    Without limits on tokens and with a beam that holds every prefix the sums are exact. Labels of
    frames are those of the most probable path of the best sequence, so that words have times and
    chunks of long audio are joined as those of greedy decoding are.

    Args:
        beam: prefixes kept after every frame.
        tokens_per_frame: the most probable tokens of a frame extend prefixes, the others do not
            (a prefix can still repeat its last token); null: all of them.
        skip_blank: of neighbouring frames whose blank is at least this probable only the first is
            searched, the others count as blanks; null: none is skipped.
        n_best: sequences that are handed on, at most ``beam``.
        lm: an n-gram model in an ARPA file, which `read_lm` reads; null: none.
        lm_weight: what its natural logarithms are multiplied by.
        lm_word_bonus: what every word adds to the score.
        blank_id: the token of the blank.
        scorers: language models and hotwords, which are added up.
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
        blank_id: int = 0,
        scorers: Sequence[TokenScorer] = (),
    ) -> None:
        super().__init__(blank_id=blank_id)
        self.beam = beam
        self.tokens_per_frame = tokens_per_frame
        self.skip_blank = skip_blank
        self.n_best = n_best
        self.lm = lm
        self.lm_weight = lm_weight
        self.lm_word_bonus = lm_word_bonus
        self.lm_scorer: TokenScorer | None = None
        self.scorers = scorers
        self._frames: list[tuple[int, int]] = []  # searched and skipped ones of every batch

    def read_lm(self, tokenizer: Tokenizer, normalize: Callable[[str], str]) -> None:
        """Read the n-gram model ``lm`` and score with it; InputError as `lm_scorer` raises it."""
        if self.lm is None:
            return
        self.lm_scorer = lm_scorer(
            Path(self.lm),
            tokenizer,
            normalize=normalize,
            weight=self.lm_weight,
            bonus=self.lm_word_bonus,
        )
        self.scorers = (*self.scorers, self.lm_scorer)

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[FrameLabels]:
        """The best path of the best sequence of each utterance, with its ``n_best`` sequences."""
        if not log_probs_BTV.shape[1]:
            return [self.blanks(0) for _ in lengths_B]
        found = self.search(log_probs_BTV, lengths_B)
        return labels_of(found, log_probs_BTV, lengths_B, self.n_best)

    def search(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """The sequences of each utterance, the best first, at most ``beam``.

        Frames behind a length are not read.
        """
        log_probs_BTV, lengths_B, skipped_B = self._frames_to_search(
            log_probs_BTV.float(), lengths_B
        )
        batch, num_frames, vocab_size = log_probs_BTV.shape
        num_tokens = min(self.tokens_per_frame or vocab_size, vocab_size - 1)
        tokens_BTV = log_probs_BTV.clone()
        tokens_BTV[..., self.blank_id] = _NEVER
        scores_BTC, ids_BTC = tokens_BTV.topk(num_tokens)
        scores_BTC = scores_BTC.double()
        now = _Prefixes.empty(batch, self.beam, self.scorers, log_probs_BTV.device)
        steps: list[tuple[Tensor, Tensor]] = []
        for frame in range(num_frames):
            now, step = self._advance(
                now, log_probs_BTV[:, frame], scores_BTC[:, frame], ids_BTC[:, frame]
            )
            steps.append(step)
        for scorer, states_BK in zip(self.scorers, now.states, strict=True):
            now.added = now.added + scorer.finish(states_BK)
        acoustic_BK = torch.logaddexp(now.blank, now.token) + skipped_B.unsqueeze(1)
        return _read_out(steps, acoustic_BK, now.added)

    @property
    def skipped(self) -> float:
        """The fraction of the frames so far that was skipped as blank."""
        skipped = sum(skipped for _, skipped in self._frames)
        return skipped / max(1, sum(map(sum, self._frames)))

    @property
    def notice(self) -> str:
        """What is to be said of the frames so far, one line; empty if there is nothing."""
        return "" if self.skip_blank is None else str(self)

    def __str__(self) -> str:
        """The settings, and what was skipped so far: one line."""
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
        """Frames without those to skip, their number, and the log probability of those skipped.

        Frames behind the length become certain blanks, which change nothing.
        """
        batch, num_frames, vocab_size = log_probs_BTV.shape
        lengths_B = lengths_B.to(log_probs_BTV.device)
        frames_T = torch.arange(num_frames, device=log_probs_BTV.device)
        is_valid_BT = frames_T < lengths_B.unsqueeze(1)
        nothing = log_probs_BTV.new_full((vocab_size,), _NEVER)
        nothing[self.blank_id] = 0.0
        log_probs_BTV = torch.where(is_valid_BT.unsqueeze(-1), log_probs_BTV, nothing)
        skipped_B = torch.zeros(batch, dtype=torch.float64, device=log_probs_BTV.device)
        if self.skip_blank is None:
            self._frames.append((int(lengths_B.sum()), 0))
            return log_probs_BTV, lengths_B, skipped_B
        blank_BT = log_probs_BTV[..., self.blank_id]
        is_sure_BT = blank_BT.exp() >= self.skip_blank
        is_skipped_BT = is_sure_BT & is_valid_BT
        is_skipped_BT[:, 1:] &= is_sure_BT[:, :-1]
        is_skipped_BT[:, :1] = False
        skipped_B = torch.where(is_skipped_BT, blank_BT, 0.0).double().sum(1)
        self._frames.append(
            (int((is_valid_BT & ~is_skipped_BT).sum()), int(is_skipped_BT.sum())),
        )
        is_kept_BT = is_valid_BT & ~is_skipped_BT
        order_BT = (~is_kept_BT).to(torch.int8).argsort(dim=1, stable=True)
        lengths_B = is_kept_BT.sum(1)
        order_BT = order_BT[:, : int(lengths_B.max())]
        kept = log_probs_BTV.gather(1, order_BT.unsqueeze(-1).expand(-1, -1, vocab_size))
        is_valid_BT = frames_T[: order_BT.shape[1]] < lengths_B.unsqueeze(1)
        return torch.where(is_valid_BT.unsqueeze(-1), kept, nothing), lengths_B, skipped_B

    def _advance(
        self, now: _Prefixes, frame_BV: Tensor, scores_BC: Tensor, ids_BC: Tensor
    ) -> tuple[_Prefixes, tuple[Tensor, Tensor]]:
        """The beam behind one more frame; with where each prefix came from, and its new token."""
        beam, num_tokens = self.beam, ids_BC.shape[1]
        ids_B1C = ids_BC.unsqueeze(1)
        total = torch.logaddexp(now.blank, now.token)
        again = frame_BV.gather(1, now.last)  # what its last token has in this frame

        # A prefix j (second dimension) that stays, and i (third) that becomes j by its last token.
        is_parent_BKK = now.parents.unsqueeze(2) == now.hashes.unsqueeze(1)
        is_same_BKK = now.last.unsqueeze(2) == now.last.unsqueeze(1)
        from_parent = torch.where(is_same_BKK, now.blank.unsqueeze(1), total.unsqueeze(1))
        arriving = torch.where(is_parent_BKK, from_parent, _NEVER).amax(-1)
        stay_token = torch.logaddexp(now.token, arriving) + again
        stay_blank = total + frame_BV[:, self.blank_id].unsqueeze(1)

        # A prefix becomes longer: behind a blank only, where its last token is repeated.
        is_repeated_BKC = now.last.unsqueeze(2) == ids_B1C
        longer = torch.where(is_repeated_BKC, now.blank.unsqueeze(2), total.unsqueeze(2))
        longer = longer + scores_BC.unsqueeze(1)
        is_in_beam_BKC = is_parent_BKK.transpose(1, 2).float() @ is_repeated_BKC.float() > 0
        longer = longer.masked_fill(is_in_beam_BKC, _NEVER).flatten(1)
        advanced = [
            scorer.advance(states_BK.unsqueeze(2), ids_B1C)
            for scorer, states_BK in zip(self.scorers, now.states, strict=True)
        ]
        added = now.added.unsqueeze(2).expand(-1, -1, num_tokens)
        for scores_BKC, _ in advanced:
            added = added + scores_BKC
        added = torch.cat([now.added, added.flatten(1)], 1)

        ending_in_token = torch.cat([stay_token, longer], 1)
        score = torch.cat([torch.logaddexp(stay_blank, stay_token), longer], 1) + added
        best, chosen_BK = score.topk(beam)
        is_longer = chosen_BK >= beam
        extension = (chosen_BK - beam).clamp_min(0)
        source = torch.where(
            is_longer, torch.div(extension, num_tokens, rounding_mode="floor"), chosen_BK
        )
        new_token = ids_BC.gather(1, extension % num_tokens)
        hashes = now.hashes.gather(1, source)
        is_empty = best == _NEVER
        following = _Prefixes(
            blank=torch.where(is_longer, _NEVER, stay_blank.gather(1, source)),
            token=ending_in_token.gather(1, chosen_BK),
            added=added.gather(1, chosen_BK),
            last=torch.where(is_longer, new_token, now.last.gather(1, source)),
            hashes=torch.where(is_longer, hashes * _FACTOR + (new_token + 1), hashes).masked_fill(
                is_empty, _NO_PREFIX
            ),
            parents=torch.where(is_longer, hashes, now.parents.gather(1, source)).masked_fill(
                is_empty, _NO_PARENT
            ),
            states=[
                torch.cat([states_BK, after_BKC.flatten(1)], 1).gather(1, chosen_BK)
                for states_BK, (_, after_BKC) in zip(now.states, advanced, strict=True)
            ],
        )
        return following, (source, torch.where(is_longer, new_token, _NO_TOKEN))


def labels_of(
    found: Sequence[Sequence[ScoredTokens]],
    log_probs_BTV: Tensor,
    lengths_B: Tensor,
    n_best: int,
) -> list[FrameLabels]:
    """The best path of the first sequence of each utterance, with its first ``n_best`` ones."""
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


def _read_out(
    steps: Sequence[tuple[Tensor, Tensor]], acoustic_BK: Tensor, added_BK: Tensor
) -> list[list[ScoredTokens]]:
    """Follow every prefix of the last beam back to its first token."""
    score_BK, order_BK = (acoustic_BK + added_BK).sort(dim=1, descending=True, stable=True)
    place_BK = order_BK.cpu().numpy()
    rows = np.arange(len(place_BK))[:, np.newaxis]
    tokens_TBK = np.full((len(steps), *place_BK.shape), _NO_TOKEN)
    if steps:
        from_TBK = torch.stack([source for source, _ in steps]).cpu().numpy()
        added_TBK = torch.stack([token for _, token in steps]).cpu().numpy()
        for frame in reversed(range(len(steps))):
            tokens_TBK[frame] = added_TBK[frame][rows, place_BK]
            place_BK = from_TBK[frame][rows, place_BK]
    acoustic = acoustic_BK.gather(1, order_BK).tolist()
    added = added_BK.gather(1, order_BK).tolist()
    return [
        [
            ScoredTokens(
                token_ids=_without_gaps(tokens_TBK[:, row, place]),
                acoustic=acoustic[row][place],
                added=added[row][place],
            )
            for place, score in enumerate(scores)
            if place == 0 or score > _NEVER
        ]
        for row, scores in enumerate(score_BK.tolist())
    ]


def _without_gaps(tokens_T: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(tokens_T[tokens_T != _NO_TOKEN].tolist())
