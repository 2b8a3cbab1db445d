"""Where a training run stands."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from typing import Any

from asr.data.share import is_first, of_all_processes

# What a running process finds out anew, and a checkpoint therefore does not keep.
_TRANSIENT = ("epoch", "interrupted")
_SUMMED = ("audio_s", "cpu_s", "num_left_out")
_UNITED = ("unreadable", "bad_sounds")
_PER_PROCESS = (*_SUMMED, "wait_s", *_UNITED)


@dataclass(slots=True)
class RunState:
    """Progress of a run across all its resumptions, as one of its processes sees it.

    ``num_epochs`` counts whole epochs, ``epoch`` (from 0) is the one of the last batch.
    ``position`` is the loader's own state behind the last batch of the last step; ``plan`` is kept
    by :func:`asr.train.plan.plan_steps`; ``train_s`` and
    ``cpu_s`` count wall and processor seconds in :func:`asr.train.fit.fit`, ``wait_s`` the part of
    ``train_s`` spent waiting for data, ``audio_s`` seconds of audio trained on. ``num_left_out``
    counts utterances without a CTC alignment, ``num_skipped`` steps with a loss or gradient that
    was not finite, ``num_overflows`` those of them that the scaling of fp16 explains;
    ``unreadable`` names utterances whose audio could not be read, ``bad_sounds`` files
    of sounds to be mixed into them. ``num_resumed`` counts resumptions. WERs are percent, None
    before the first validation.
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
        """Plain values for a checkpoint."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _TRANSIENT}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunState:
        """The state that :meth:`to_dict` wrote; names unknown to this version are ignored."""
        known = {f.name for f in fields(cls)} - set(_TRANSIENT)
        return cls(**{name: value for name, value in values.items() if name in known})

    @classmethod
    def to_resume(cls, values: dict[str, Any]) -> RunState:
        """The state with which this process goes on behind a run of state ``values``.

        What all processes sum up goes on in the first of them.
        """
        state = cls.from_dict(values)
        if not is_first():
            for name in _SUMMED:
                setattr(state, name, 0)
        return state

    def of_all(self) -> RunState:
        """The state of the processes that train together, all of which must call this.

        ``audio_s``, ``cpu_s`` and ``num_left_out`` are sums, ``unreadable`` and ``bad_sounds`` are
        what any of them could not read, ``wait_s`` a mean; the rest is the same everywhere.
        """
        each = of_all_processes({name: getattr(self, name) for name in _PER_PROCESS})
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
    """Keeps ``state.train_s`` and ``state.cpu_s`` going from where an earlier run left them."""

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
