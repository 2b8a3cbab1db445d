"""The state of a training run: counters, clock, running means, random generators."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.distributed import gather_from_all, is_first


class RunningMeans:
    """Means over the training since the last :meth:`read`, without validation time.

    Losses are summed on their device and fetched only by :meth:`read`.
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
        """Add a batch; ``loss`` is the mean of ``num_utterances``, None if none was kept.

        ``num_tokens`` is the sum over their transcripts, if known.
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
        """Continue the clock."""
        if self._paused_at_s is not None:
            self._start_s += time.perf_counter() - self._paused_at_s
            self._paused_at_s = None

    def read(self) -> dict[str, float]:
        """Return the means since the last read, and start anew.

        ``train_loss`` is per batch and ``loss_per_token`` per token (absent without losses or token
        counts), ``data_wait_share`` is 0 to 1, ``audio_s_per_s`` is seconds of audio per second.
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


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the random states of Python, NumPy, PyTorch and all CUDA devices."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            str(kind),
            np.asarray(keys).tolist(),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore :func:`random_state`; CUDA only if the number of devices is the same."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([device_state.cpu() for device_state in state["cuda"]])


# Fields not in a checkpoint: they start anew in every process.
_TRANSIENT = ("epoch", "interrupted")
_SUMMED = ("audio_s", "cpu_s", "num_left_out")
_UNITED = ("unreadable", "bad_sounds")
_PER_PROCESS = (*_SUMMED, "wait_s", *_UNITED)


@dataclass(slots=True)
class RunState:
    """The progress of a run across all its resumptions, as one of its processes sees it.

    ``num_epochs`` counts whole epochs, ``epoch`` (from 0) is the last batch's. ``position`` is the
    loader's state after the last batch of the last step; ``plan`` belongs to
    :func:`asr.train.trainer.plan_steps`. ``train_s`` and ``cpu_s`` count wall and processor seconds
    in :func:`asr.train.fit.fit`, ``wait_s`` the part of ``train_s`` spent waiting for data,
    ``audio_s`` the seconds of audio trained on. ``num_left_out`` counts utterances without a CTC
    alignment, ``num_skipped`` steps with a loss or gradient that was not finite, ``num_overflows``
    those that the scaling of fp16 explains. ``unreadable`` names utterances whose audio could not
    be read, ``bad_sounds`` files of sounds to be mixed into them. ``num_resumed`` counts
    resumptions. WERs are percent, None before the first validation.
    """

    num_steps: int = 0
    num_epochs: int = 0
    epoch: int = 0
    position: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    train_s: float = 0.0
    cpu_s: float = 0.0
    wait_s: float = 0.0
    audio_s: float = 0.0
    num_left_out: int = 0
    num_skipped: int = 0
    num_overflows: int = 0
    unreadable: list[str] = field(default_factory=list)
    bad_sounds: list[str] = field(default_factory=list)
    num_resumed: int = 0
    best_wer: float | None = None
    best_step: int | None = None
    last_wer: float | None = None
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _TRANSIENT}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunState:
        """Restore the state that :meth:`to_dict` wrote; unknown names are ignored."""
        known = {f.name for f in fields(cls)} - set(_TRANSIENT)
        return cls(**{name: value for name, value in values.items() if name in known})

    @classmethod
    def to_resume(cls, values: dict[str, Any]) -> RunState:
        """Return the state with which this process resumes a run of state ``values``.

        Sums over all processes continue in the first one.
        """
        state = cls.from_dict(values)
        if not is_first():
            for name in _SUMMED:
                setattr(state, name, 0)
        return state

    def of_all(self) -> RunState:
        """Merge the states of the processes that train together; all of them must call this.

        ``audio_s``, ``cpu_s`` and ``num_left_out`` are summed, ``unreadable`` and ``bad_sounds``
        united, ``wait_s`` averaged; the rest is the same everywhere.
        """
        each = gather_from_all({name: getattr(self, name) for name in _PER_PROCESS})
        sums = {name: sum(own[name] for own in each) for name in _SUMMED}
        unions: dict[str, Any] = {
            name: sorted({one for own in each for one in own[name]}) for name in _UNITED
        }
        wait_s = sum(own["wait_s"] for own in each) / len(each)
        return replace(self, **sums, **unions, wait_s=wait_s)

    @property
    def data_wait_share(self) -> float:
        """Part of the training time spent waiting for data, 0 to 1."""
        return self.wait_s / self.train_s if self.train_s else 0.0


class RunClock:
    """A clock that continues ``state.train_s`` and ``state.cpu_s`` of an earlier run."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._wall_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def tick(self) -> None:
        """Add the time since the last tick."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        self._state.train_s += wall_s - self._wall_s
        self._state.cpu_s += cpu_s - self._cpu_s
        self._wall_s, self._cpu_s = wall_s, cpu_s
