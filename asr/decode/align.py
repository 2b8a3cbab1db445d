"""CTC forced alignment: the token of each frame, given the transcript.

The alignment is the best path through blank, token, blank, ..., token, blank (Viterbi over the
graph of Graves et al. 2006, section 4.1), computed for a whole padded batch.

Shape legend: B batch, T frames, V vocabulary, U tokens, S = 2U + 1 states.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from asr.head.ctc import BLANK_ID, frames_needed

NO_LABEL = -1


@torch.no_grad()
def align(
    log_probs_BTV: Tensor, lengths_B: Tensor, token_ids_BU: Tensor, token_lengths_B: Tensor
) -> Tensor:
    """Return the token of each frame (B, T), ``BLANK_ID`` if it has none, on the CPU.

    Frames after an utterance's end, and all frames of an utterance with fewer frames than its
    tokens need, are ``NO_LABEL``.
    """
    log_probs_BTV, lengths_B = log_probs_BTV.float().cpu(), lengths_B.cpu()
    token_ids_BU, token_lengths_B = token_ids_BU.cpu(), token_lengths_B.cpu()
    states_BS = functional.pad(token_ids_BU.unsqueeze(-1), (1, 0), value=BLANK_ID).flatten(1)
    states_BS = functional.pad(states_BS, (0, 1), value=BLANK_ID)
    emitted_BTS = log_probs_BTV.gather(
        2, states_BS.unsqueeze(1).expand(-1, log_probs_BTV.shape[1], -1)
    )
    # A token may directly follow a different token; equal ones need a blank between.
    skips_BS = torch.zeros_like(states_BS, dtype=torch.bool)
    skips_BS[:, 2:] = states_BS[:, 2:] != states_BS[:, :-2]
    score_BS, steps_BTS = _search(emitted_BTS, skips_BS, lengths_B)
    last_B = 2 * token_lengths_B
    ends_B2 = torch.stack([last_B, (last_B - 1).clamp(min=0)], 1)
    end_B1 = ends_B2.gather(1, score_BS.gather(1, ends_B2).argmax(1, keepdim=True))
    labels_BT = states_BS.gather(1, _trace(steps_BTS, end_B1))
    behind_BT = torch.arange(log_probs_BTV.shape[1]) >= lengths_B.unsqueeze(1)
    unfit_B = lengths_B < frames_needed(token_ids_BU, token_lengths_B)
    return labels_BT.masked_fill(behind_BT | unfit_B.unsqueeze(1), NO_LABEL)


def _search(emitted_BTS: Tensor, skips_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best path's score for each end state (B, S), and its moves (B, T, S), int8.

    A move is the number of states advanced. After an utterance's end the paths do not move.
    """
    _, num_frames, num_states = emitted_BTS.shape
    score_BS = emitted_BTS[:, 0].masked_fill(torch.arange(num_states) > 1, -torch.inf)
    steps_BTS = torch.zeros(emitted_BTS.shape, dtype=torch.int8)
    for frame in range(1, num_frames):
        moved_BS = functional.pad(score_BS, (1, 0), value=-torch.inf)[:, :-1]
        skipped_BS = functional.pad(moved_BS, (1, 0), value=-torch.inf)[:, :-1]
        skipped_BS = skipped_BS.masked_fill(~skips_BS, -torch.inf)
        best = torch.stack([score_BS, moved_BS, skipped_BS]).max(0)
        inside_B1 = (frame < lengths_B).unsqueeze(1)
        score_BS = torch.where(inside_B1, best.values + emitted_BTS[:, frame], score_BS)
        steps_BTS[:, frame] = best.indices * inside_B1
    return score_BS, steps_BTS


def _trace(steps_BTS: Tensor, end_B1: Tensor) -> Tensor:
    """Return the states (B, T) of the best path, traced back from its end."""
    path = [end_B1]
    for frame in range(steps_BTS.shape[1] - 1, 0, -1):
        path.append(path[-1] - steps_BTS[:, frame].gather(1, path[-1]).long())
    return torch.cat(path[::-1], 1)
