"""The transducer losses: RNN-T (Graves 2012) and TDT (Xu et al. 2023, arXiv 2304.06795).

A path leads through a lattice of frames t and numbers u of tokens emitted. In RNN-T a blank
advances by one frame and a token by none; in TDT each advances by a predicted duration:

    alpha(t, u) = log sum over d >= 1 of exp(alpha(t - d, u) + blank(t - d, u) + duration(d))
                  plus over d >= 0 of exp(alpha(t - d, u - 1) + token(t - d, u - 1) + duration(d))

The likelihood sums over the blanks that lead from (T - d, U) to the end. Cells of one
anti-diagonal, t + u = n, do not depend on each other, so T + U vectorised steps compute all.

Shape legend: B batch, T frames, U tokens, S = U + 1 states, V vocabulary, D durations, N = T + U
anti-diagonals.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from asr.head.ctc import BLANK_ID

_NEVER = -1e30  # finite: minus infinity has no gradient in logsumexp


def rnnt_losses(
    logits_BTSV: Tensor, lengths_B: Tensor, token_ids_BU: Tensor, token_lengths_B: Tensor
) -> Tensor:
    """Compute (B,) negative log likelihoods by RNN-T from logits of the joint network.

    torchaudio's kernel computes loss and gradient in float32; `path_log_probs` does in float64.
    """
    if logits_BTSV.dtype == torch.float64:
        blank_BTS, token_BTU = _of_tokens(logits_BTSV.log_softmax(-1), token_ids_BU)
        never_BTS, never_BTU = (
            torch.full_like(blank_BTS, _NEVER),
            torch.full_like(token_BTU, _NEVER),
        )
        return -path_log_probs(
            torch.stack([never_BTS, blank_BTS], -1),
            torch.stack([token_BTU, never_BTU], -1),
            lengths_B,
            token_lengths_B,
            durations=(0, 1),
        )
    from torchaudio.functional import rnnt_loss

    losses_B: Tensor = rnnt_loss(
        logits_BTSV.contiguous(),
        token_ids_BU.int().contiguous(),
        lengths_B.int(),
        token_lengths_B.int(),
        blank=BLANK_ID,
        reduction="none",
    )
    return losses_B


def tdt_losses(
    logits_BTSX: Tensor,
    lengths_B: Tensor,
    token_ids_BU: Tensor,
    token_lengths_B: Tensor,
    *,
    durations: Sequence[int],
    sigma: float = 0.0,
) -> Tensor:
    """Compute (B,) negative log likelihoods by TDT.

    ``logits_BTSX`` holds the logits of the tokens, then those of the ``durations``. ``sigma`` is
    subtracted from the log probabilities of tokens (under-normalisation), which favours long
    durations.
    """
    num_tokens = logits_BTSX.shape[-1] - len(durations)
    tokens_BTSV, durations_BTSD = logits_BTSX[..., :num_tokens], logits_BTSX[..., num_tokens:]
    log_probs_BTSV = tokens_BTSV.log_softmax(-1) - sigma
    lasting_BTSD = durations_BTSD.log_softmax(-1)
    blank_BTS, token_BTU = _of_tokens(log_probs_BTSV, token_ids_BU)
    never_D = torch.tensor(
        [_NEVER if duration == 0 else 0.0 for duration in durations], device=blank_BTS.device
    ).to(blank_BTS.dtype)
    return -path_log_probs(
        blank_BTS.unsqueeze(-1) + lasting_BTSD + never_D,
        token_BTU.unsqueeze(-1) + lasting_BTSD[:, :, :-1],
        lengths_B,
        token_lengths_B,
        durations=durations,
    )


def _of_tokens(log_probs_BTSV: Tensor, token_ids_BU: Tensor) -> tuple[Tensor, Tensor]:
    """Return log probabilities of blank (B, T, S) and of the next token (B, T, U) in each cell."""
    index_BTU1 = token_ids_BU[:, None, :, None].expand(-1, log_probs_BTSV.shape[1], -1, -1)
    token_BTU = log_probs_BTSV[:, :, :-1].gather(3, index_BTU1).squeeze(3)
    return log_probs_BTSV[..., BLANK_ID], token_BTU


def path_log_probs(
    blank_BTSD: Tensor,
    token_BTUD: Tensor,
    lengths_B: Tensor,
    token_lengths_B: Tensor,
    *,
    durations: Sequence[int],
) -> Tensor:
    """Sum the probability of all paths; return its logarithm (B,).

    ``blank_BTSD`` and ``token_BTUD`` hold the log probability of each step by cell and duration.
    """
    batch, num_frames, num_states, _ = blank_BTSD.shape
    num_diagonals = num_frames + num_states - 1
    blank_BNSD = _skewed(blank_BTSD, num_diagonals)
    token_BNSD = _skewed(functional.pad(token_BTUD, (0, 0, 0, 1), value=_NEVER), num_diagonals)
    start_BS = blank_BTSD.new_full((batch, num_states), _NEVER)
    start_BS[:, 0] = 0.0
    diagonals = [start_BS]
    for n in range(1, num_diagonals):
        arriving = []
        for index, duration in enumerate(durations):
            if 0 < duration <= n:
                before = n - duration
                arriving.append(diagonals[before] + blank_BNSD[:, before, :, index])
            before = n - duration - 1
            if before >= 0:
                moved_BS = diagonals[before] + token_BNSD[:, before, :, index]
                arriving.append(functional.pad(moved_BS, (1, 0), value=_NEVER)[:, :-1])
        diagonals.append(torch.stack(arriving).logsumexp(0).clamp(min=_NEVER))
    alpha_BNS = torch.stack(diagonals, 1)
    rows_B = torch.arange(batch, device=lengths_B.device)
    ending = []
    for index, duration in enumerate(durations):
        if not duration:
            continue
        last_B = lengths_B - duration
        ends_B = alpha_BNS[rows_B, (last_B + token_lengths_B).clamp(min=0), token_lengths_B]
        ends_B = (
            ends_B + blank_BTSD[rows_B, last_B.clamp(0, num_frames - 1), token_lengths_B, index]
        )
        ending.append(ends_B.masked_fill(last_B < 0, _NEVER))
    return torch.stack(ending).logsumexp(0)


def _skewed(steps_BTSD: Tensor, num_diagonals: int) -> Tensor:
    """Sort the cells by anti-diagonal (B, N, S, D); steps outside the lattice are impossible."""
    batch, num_frames, num_states, num_durations = steps_BTSD.shape
    n_N1 = torch.arange(num_diagonals, device=steps_BTSD.device).unsqueeze(1)
    frame_NS = n_N1 - torch.arange(num_states, device=steps_BTSD.device)
    outside_NS = (frame_NS < 0) | (frame_NS >= num_frames)
    index_NS = frame_NS.clamp(0, num_frames - 1)
    index_BNSD = index_NS[None, :, :, None].expand(batch, -1, -1, num_durations)
    return steps_BTSD.gather(1, index_BNSD).masked_fill(outside_NS[None, :, :, None], _NEVER)
