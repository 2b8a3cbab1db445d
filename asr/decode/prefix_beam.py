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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.lm.automaton import TokenScorer
from asr.types import ScoredTokens

FACTOR = 6364136223846793005  # of the polynomial hash (Knuth's, modulo 2^64)
NO_PREFIX, NO_PARENT = -1, -2  # hashes of an empty place of the beam, and above the root
NO_TOKEN = -1
NEVER = float("-inf")


def search_prefixes(
    log_probs_BTV: Tensor,
    *,
    beam: int,
    tokens_per_frame: int | None,
    blank_id: int,
    scorers: Sequence[TokenScorer],
    skipped_B: Tensor,
) -> list[list[ScoredTokens]]:
    """The most probable sequences of each utterance, the best first, at most ``beam``.

    All frames are searched: those behind the end of an utterance have to be certain blanks.
    ``skipped_B`` is the log probability of frames that were left out before.
    """
    batch, num_frames, vocab_size = log_probs_BTV.shape
    num_tokens = min(tokens_per_frame or vocab_size, vocab_size - 1)
    tokens_BTV = log_probs_BTV.clone()
    tokens_BTV[..., blank_id] = NEVER
    scores_BTC, ids_BTC = tokens_BTV.topk(num_tokens)
    scores_BTC = scores_BTC.double()
    scorers = [scorer.for_search() for scorer in scorers]
    now = _Prefixes.empty(batch, beam, scorers, log_probs_BTV.device)
    steps: list[tuple[Tensor, Tensor]] = []
    for frame in range(num_frames):
        frame_BV, blank_B1 = log_probs_BTV[:, frame], log_probs_BTV[:, frame, blank_id, None]
        now, step = _advance(
            now, frame_BV, blank_B1, scores_BTC[:, frame], ids_BTC[:, frame], scorers
        )
        steps.append(step)
    for scorer, states_BK in zip(scorers, now.states, strict=True):
        now.added = now.added + scorer.finish(states_BK)
    acoustic_BK = torch.logaddexp(now.blank, now.token) + skipped_B.unsqueeze(1)
    return _read_out(steps, acoustic_BK, now.added)


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

        blank, hashes = full(NEVER, torch.float64), full(NO_PREFIX, torch.int64)
        blank[:, 0] = 0.0
        hashes[:, 0] = 0
        return cls(
            blank=blank,
            token=full(NEVER, torch.float64),
            added=full(0.0, torch.float64),
            last=full(0, torch.int64),
            hashes=hashes,
            parents=full(NO_PARENT, torch.int64),
            states=[full(scorer.start, torch.int64) for scorer in scorers],
        )


def _advance(
    now: _Prefixes,
    frame_BV: Tensor,
    blank_B1: Tensor,
    scores_BC: Tensor,
    ids_BC: Tensor,
    scorers: Sequence[TokenScorer],
) -> tuple[_Prefixes, tuple[Tensor, Tensor]]:
    """The beam behind one more frame; with where each prefix came from, and its new token."""
    beam, num_tokens = now.last.shape[1], ids_BC.shape[1]
    ids_B1C = ids_BC.unsqueeze(1)
    total = torch.logaddexp(now.blank, now.token)
    again = frame_BV.gather(1, now.last)  # what its last token has in this frame

    # A prefix j (second dimension) that stays, and i (third) that becomes j by its last token.
    is_parent_BKK = now.parents.unsqueeze(2) == now.hashes.unsqueeze(1)
    is_same_BKK = now.last.unsqueeze(2) == now.last.unsqueeze(1)
    from_parent = torch.where(is_same_BKK, now.blank.unsqueeze(1), total.unsqueeze(1))
    arriving = torch.where(is_parent_BKK, from_parent, NEVER).amax(-1)
    stay_token = torch.logaddexp(now.token, arriving) + again
    stay_blank = total + blank_B1

    # A prefix becomes longer: behind a blank only, where its last token is repeated.
    is_repeated_BKC = now.last.unsqueeze(2) == ids_B1C
    longer = torch.where(is_repeated_BKC, now.blank.unsqueeze(2), total.unsqueeze(2))
    longer = longer + scores_BC.unsqueeze(1)
    is_in_beam_BKC = is_parent_BKK.transpose(1, 2).float() @ is_repeated_BKC.float() > 0
    longer = longer.masked_fill(is_in_beam_BKC, NEVER).flatten(1)
    advanced = [
        scorer.advance(states_BK.unsqueeze(2), ids_B1C)
        for scorer, states_BK in zip(scorers, now.states, strict=True)
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
    is_empty = best == NEVER
    following = _Prefixes(
        blank=torch.where(is_longer, NEVER, stay_blank.gather(1, source)),
        token=ending_in_token.gather(1, chosen_BK),
        added=added.gather(1, chosen_BK),
        last=torch.where(is_longer, new_token, now.last.gather(1, source)),
        hashes=torch.where(is_longer, hashes * FACTOR + (new_token + 1), hashes).masked_fill(
            is_empty, NO_PREFIX
        ),
        parents=torch.where(is_longer, hashes, now.parents.gather(1, source)).masked_fill(
            is_empty, NO_PARENT
        ),
        states=[
            torch.cat([states_BK, after_BKC.flatten(1)], 1).gather(1, chosen_BK)
            for states_BK, (_, after_BKC) in zip(now.states, advanced, strict=True)
        ],
    )
    return following, (source, torch.where(is_longer, new_token, NO_TOKEN))


def _read_out(
    steps: Sequence[tuple[Tensor, Tensor]], acoustic_BK: Tensor, added_BK: Tensor
) -> list[list[ScoredTokens]]:
    """Follow every prefix of the last beam back to its first token."""
    score_BK, order_BK = (acoustic_BK + added_BK).sort(dim=1, descending=True, stable=True)
    place_BK = order_BK.cpu().numpy()
    rows = np.arange(len(place_BK))[:, np.newaxis]
    tokens_TBK = np.full((len(steps), *place_BK.shape), NO_TOKEN)
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
            if place == 0 or score > NEVER
        ]
        for row, scores in enumerate(score_BK.tolist())
    ]


def _without_gaps(tokens_T: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(tokens_T[tokens_T != NO_TOKEN].tolist())
