"""Means over the steps since one looked last."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor


class Meter:
    """Sums of what training did since the last :meth:`read`; validation time is left out.

    Losses are summed on their device and only fetched by :meth:`read`.
    """

    def __init__(self) -> None:
        self._loss_sum: Tensor | None = None
        self._num_losses = 0
        self._nats: Tensor | None = None
        self._num_tokens: Tensor | None = None
        self._wait_s = 0.0
        self._audio_s = 0.0
        self._start_s = time.perf_counter()
        self._paused_at_s: float | None = None

    def add(
        self,
        *,
        wait_s: float,
        audio_s: float,
        loss: Tensor | None,
        num_utterances: int = 0,
        num_tokens: Tensor | None = None,
    ) -> None:
        """Count a batch; ``loss``, the mean of ``num_utterances``, is None where none was kept.

        ``num_tokens`` are those of their transcripts together, where they are known.
        """
        self._wait_s += wait_s
        self._audio_s += audio_s
        if loss is not None:
            self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
            self._num_losses += 1
            if num_tokens is not None:
                nats = loss * num_utterances
                self._nats = nats if self._nats is None else self._nats + nats
                self._num_tokens = (
                    num_tokens if self._num_tokens is None else self._num_tokens + num_tokens
                )

    def pause(self) -> None:
        """Stop the clock."""
        self._paused_at_s = time.perf_counter()

    def resume(self) -> None:
        """Let the clock go on."""
        if self._paused_at_s is not None:
            self._start_s += time.perf_counter() - self._paused_at_s
            self._paused_at_s = None

    def read(self) -> dict[str, float]:
        """Means since the last read.

        ``train_loss`` per batch and ``loss_per_token`` (absent if there was none, or where nobody
        told the tokens), ``data_wait_share`` 0 to 1,
        ``audio_s_per_s`` seconds of audio in a second.
        """
        wall_s = max(time.perf_counter() - self._start_s, 1e-9)
        means = {
            "data_wait_share": min(1.0, self._wait_s / wall_s),
            "audio_s_per_s": self._audio_s / wall_s,
        }
        if self._loss_sum is not None and torch.isfinite(self._loss_sum):
            means["train_loss"] = float(self._loss_sum) / self._num_losses
        if self._nats is not None and self._num_tokens is not None:
            per_token = float(self._nats) / max(1.0, float(self._num_tokens))
            if math.isfinite(per_token):
                means["loss_per_token"] = per_token
        self._loss_sum, self._num_losses = None, 0
        self._nats = self._num_tokens = None
        self._wait_s = self._audio_s = 0.0
        self._start_s = time.perf_counter()
        return means
