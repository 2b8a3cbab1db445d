"""The transducer losses: RNN-T (Graves 2012) and TDT (Xu et al. 2023, arXiv 2304.06795).

A path leads through a lattice of frames t and numbers u of tokens emitted. In RNN-T a blank
advances by one frame and a token by none; in TDT each advances by a predicted duration:

    alpha(t, u) = log sum over d >= 1 of exp(alpha(t - d, u) + blank(t - d, u) + duration(d))
                  plus over d >= 0 of exp(alpha(t - d, u - 1) + token(t - d, u - 1) + duration(d))

The likelihood sums over the blanks that lead from (T - d, U) to the end. Cells of one
anti-diagonal, t + u = n, do not depend on each other, so T + U vectorised steps compute all.

Shape legend: B batch, T frames, U tokens, S = U + 1 states, V vocabulary, D durations, N = T + U
anti-diagonals, R the most that a step crosses, M = N + R, C = 2 S + 1 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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

    ``blank_BTSD`` and ``token_BTUD`` hold the log probability of each step by cell and duration. An
    utterance without any path has -1e30, and no gradient.
    """
    num_frames = blank_BTSD.shape[1]
    reach = max(durations) + 1
    rows_B = torch.arange(len(lengths_B), device=lengths_B.device)
    end_BR = blank_BTSD.new_full((len(lengths_B), reach), _NEVER)
    for index, duration in enumerate(durations):
        if duration:
            last_B = lengths_B - duration
            step_B = blank_BTSD[rows_B, last_B.clamp(0, num_frames - 1), token_lengths_B, index]
            end_BR[:, reach - duration] = step_B.masked_fill(last_B < 0, _NEVER)
    steps_MRBC = _by_diagonal(blank_BTSD, token_BTUD, durations)
    sums_B: Tensor = _PathSum.apply(  # type: ignore[no-untyped-call]
        steps_MRBC, end_BR, lengths_B, token_lengths_B
    )
    return sums_B


def _by_diagonal(blank_BTSD: Tensor, token_BTUD: Tensor, durations: Sequence[int]) -> Tensor:
    """Sort steps by the anti-diagonal they start from and by the number R - r that they cross.

    Returns (M, R, B, C) after R rows without steps. Column 2s + 1 has the blank of state s and
    column 2s + 2 its token, so that columns 2s and 2s + 1 have what leads *to* state s. Steps
    outside the lattice are impossible.
    """
    batch, num_frames, num_states, _ = blank_BTSD.shape
    num_diagonals, reach = num_frames + num_states - 1, max(durations) + 1
    steps_BTRC = blank_BTSD.new_full((batch, num_frames, reach, 2 * num_states + 1), _NEVER)
    for index, duration in enumerate(durations):
        if duration:
            steps_BTRC[:, :, reach - duration, 1::2] = blank_BTSD[..., index]
        steps_BTRC[:, :, reach - duration - 1, 2:-1:2] = token_BTUD[..., index]
    state_C = (torch.arange(2 * num_states + 1, device=blank_BTSD.device) - 1) // 2
    frame_NC = torch.arange(num_diagonals, device=blank_BTSD.device).unsqueeze(1) - state_C
    index_BNRC = frame_NC.clamp(0, num_frames - 1)[None, :, None].expand(batch, -1, reach, -1)
    outside_NC = (frame_NC < 0) | (frame_NC >= num_frames)
    steps_BNRC = steps_BTRC.gather(1, index_BNRC).masked_fill(outside_NC[:, None], _NEVER)
    return functional.pad(steps_BNRC.permute(1, 2, 0, 3), (0, 0) * 3 + (reach, 0), value=_NEVER)


class _PathSum(torch.autograd.Function):
    """The logarithm (B,) of the sum over all paths, and its gradient by forward and backward sums.

    With R the farthest that a step leads, a window of R rows before a diagonal holds all cells
    from which steps lead to it: row r is R - r diagonals before.
    """

    @staticmethod
    def forward(
        ctx: Any,
        steps_MRBC: Tensor,
        end_BR: Tensor,
        lengths_B: Tensor,
        token_lengths_B: Tensor,
    ) -> Tensor:
        num_rows, reach, batch, num_columns = steps_MRBC.shape
        num_diagonals, num_states = num_rows - reach, num_columns // 2
        row, step, *rest = steps_MRBC.stride()
        arriving_NRBC = steps_MRBC.as_strided(
            (num_diagonals, reach, batch, num_columns), (row, row + step, *rest)
        )
        arriving_NRBS2 = _in_pairs(arriving_NRBC[..., :-1])
        alpha_MBS = steps_MRBC.new_full((num_rows, batch, 1 + num_states), _NEVER)
        alpha_MBS[reach, :, 1] = 0.0
        for n in range(1, num_diagonals):
            alpha_MBS[n + reach, :, 1:] = _reached(alpha_MBS[n : n + reach], arriving_NRBS2[n])
        alpha_NBS = alpha_MBS[reach:, :, 1:]
        last_BR = (lengths_B + token_lengths_B).unsqueeze(1) - torch.arange(
            reach, 0, -1, device=lengths_B.device
        )
        rows_B1 = torch.arange(batch, device=lengths_B.device).unsqueeze(1)
        at_end = last_BR.clamp(min=0), rows_B1, token_lengths_B.unsqueeze(1)
        ending_BR = alpha_NBS[at_end] + end_BR
        sums_B = ending_BR.logsumexp(1).clamp(min=_NEVER)
        ctx.save_for_backward(steps_MRBC, end_BR, alpha_NBS, ending_BR, sums_B, *at_end)
        return sums_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_B: Tensor) -> tuple[Tensor, Tensor, None, None]:
        steps_MRBC, end_BR, alpha_NBS, ending_BR, sums_B, *at_end = ctx.saved_tensors
        gradient_B = gradient_B.masked_fill(sums_B < _NEVER / 2, 0.0)
        num_diagonals, batch, num_states = alpha_NBS.shape
        reach = steps_MRBC.shape[1]
        leaving_NRBS2 = _in_pairs(steps_MRBC[reach:, ..., 1:])
        last_BR, *cell = at_end
        last_BR = last_BR.masked_fill(end_BR < _NEVER / 2, num_diagonals)  # behind all others
        end_NBS = alpha_NBS.new_full((num_diagonals + 1, batch, num_states), _NEVER)
        end_NBS[last_BR, *cell] = end_BR
        # Rows of beta run backwards in time, after R rows behind the end; no state follows S - 1.
        beta_MBS = alpha_NBS.new_full((num_diagonals + reach, batch, num_states + 1), _NEVER)
        for row in range(num_diagonals):
            n = num_diagonals - 1 - row
            going_BS = _reached(beta_MBS[row : row + reach], leaving_NRBS2[n])
            beta_MBS[row + reach, :, :-1] = torch.logaddexp(going_BS, end_NBS[n])
        beta_MBS = beta_MBS.flip(0)
        taken_MRBC = torch.zeros_like(steps_MRBC)
        for r in range(reach):
            after_NBS = beta_MBS[reach - r : reach - r + num_diagonals]
            path_NBS2 = alpha_NBS.unsqueeze(-1) + leaving_NRBS2[:, r] + after_NBS.unfold(-1, 2, 1)
            taken_NBS2 = (path_NBS2 - sums_B[:, None, None]).exp() * gradient_B[:, None, None]
            taken_MRBC[reach:, r, :, 1:] = taken_NBS2.flatten(2)
        ended_BR = (ending_BR - sums_B.unsqueeze(1)).exp() * gradient_B.unsqueeze(1)
        return taken_MRBC, ended_BR, None, None


def _reached(before_RBS: Tensor, steps_RBS2: Tensor) -> Tensor:
    """Sum (B, S) over steps from, or to, two neighbouring states in each of R diagonals."""
    paths_RBS2 = before_RBS.unfold(-1, 2, 1) + steps_RBS2
    return paths_RBS2.logsumexp((0, 3)).clamp(min=_NEVER)


def _in_pairs(steps_NRBX: Tensor) -> Tensor:
    """View (N, R, B, 2S) as (N, R, B, S, 2)."""
    return steps_NRBX.unfold(-1, 2, 2)
