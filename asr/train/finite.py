"""Handling of steps with a non-finite loss or gradient: left out, counted and logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr.errors import RunError
from asr.train.state import RunState

_log = logging.getLogger(__name__)
_NUM_NAMED = 8
_REMEDY = (
    "lower train.optim.peak_lr, raise train.optim.warmup_steps or set train.trainer.gradient_clip"
)


class NonFiniteError(RunError):
    """Too many steps without a finite loss and gradient."""


class FiniteGuard:
    """A guard that watches the steps of ``model`` and counts bad ones in ``state.num_skipped``.

    The result stays on the device; the host reads it every ``read_every`` steps, so that a GPU
    never waits. Running statistics of batch normalisation are reset to their values before a bad
    step.

    Args:
        scaled: gradients are scaled (fp16), so occasional overflows are normal: they are counted,
            also in ``state.num_overflows``, but not named.
        max_in_row: consecutive bad steps after which training stops.
        max_bad: bad steps in the whole run, without overflows, above which it stops.
        read_every: steps between two reads on an accelerator; a CPU reads every step.

    Raises:
        NonFiniteError: by :meth:`read`.
    """

    def __init__(
        self,
        model: nn.Module,
        state: RunState,
        *,
        scaled: bool = False,
        max_in_row: int,
        max_bad: int,
        read_every: int = 20,
    ) -> None:
        self._state = state
        self._scaled = scaled
        self._max_in_row = max_in_row
        self._max_bad = max_bad
        self._read_every = read_every
        self._running = [
            buffer
            for name, buffer in model.named_buffers()
            if name.rsplit(".", 1)[-1] in ("running_mean", "running_var")
        ]
        self._kept = [buffer.clone() for buffer in self._running]
        self._losses: list[Tensor] = []
        self._ids: list[str] = []
        self._unread: list[tuple[int, list[str], Tensor, Tensor]] = []
        self._num_in_row = 0

    def add_batch(self, loss: Tensor, utterance_ids: tuple[str, ...]) -> None:
        """Record one batch of the current step."""
        self._losses.append(loss.detach())
        self._ids.extend(utterance_ids)

    @torch.no_grad()
    def close_step(self, step: int, grad_norm: Tensor) -> Tensor:
        """End step ``step``; return 1.0 (on the device) if it must be left out, else 0.0."""
        bad_loss = ~torch.isfinite(torch.stack(self._losses)).all()
        bad = bad_loss | ~torch.isfinite(grad_norm)
        if self._running:
            for buffer, kept in zip(self._running, self._kept, strict=True):
                torch.where(bad, kept, buffer, out=buffer)
            torch._foreach_copy_(self._kept, self._running)
        self._unread.append((step, self._ids, bad, bad_loss))
        self._losses, self._ids = [], []
        if not bad.is_cuda or len(self._unread) >= self._read_every:
            self.read()
        return bad.float()

    def read(self) -> None:
        """Fetch the results not yet read; name the utterances of bad steps in the log."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        flags = torch.stack([torch.stack([bad, bad_loss]) for _, _, bad, bad_loss in unread])
        for (step, ids, _, _), (bad, bad_loss) in zip(unread, flags.tolist(), strict=True):
            self._num_in_row = self._num_in_row + 1 if bad else 0
            if not bad:
                continue
            self._state.num_skipped += 1
            what = "loss" if bad_loss else "gradient"
            if bad_loss or not self._scaled:
                _log.warning("step %d left out: %s not finite, in %s", step, what, first_ids(ids))
            else:
                self._state.num_overflows += 1
            if self._num_in_row >= self._max_in_row:
                raise NonFiniteError(
                    f"step {step}: {what} not finite {self._num_in_row} steps in a row "
                    f"(train.trainer.max_bad_steps_in_row), last in {first_ids(ids)}; {_REMEDY}"
                )
            num_bad = self._state.num_skipped - self._state.num_overflows
            if num_bad > self._max_bad:
                raise NonFiniteError(
                    f"step {step}: {what} not finite for the {num_bad}th time, above "
                    f"train.trainer.max_bad_steps={self._max_bad}, last in {first_ids(ids)}; "
                    f"{_REMEDY}"
                )


def first_ids(ids: Sequence[str]) -> str:
    """Name the first few of ``ids``, and how many more there are."""
    more = f" and {len(ids) - _NUM_NAMED} more" if len(ids) > _NUM_NAMED else ""
    return ", ".join(ids[:_NUM_NAMED]) + more
