"""Where the time of decoding goes."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Lock, local
from typing import TypeVar

import torch
from torch import nn

PARTS = ("decode", "features", "encoder", "search")
"""Of the work: from files to waveforms, what the model does, from its output to words."""

T = TypeVar("T")
Instant = float | torch.cuda.Event


class Stopwatch:
    """Seconds of work by part, summed over all threads: what is done side by side counts twice.

    A part within a part is charged to itself alone. Work on a CUDA device is timed by events in its
    stream, so that nothing waits for the clock.
    """

    def __init__(self) -> None:
        self._times_s: defaultdict[str, float] = defaultdict(float)
        self._stretches: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._lock = Lock()
        self._of_thread = local()

    @contextmanager
    def part(self, name: str, device: torch.device | None = None) -> Iterator[None]:
        """What is done inside is ``name``, and done on ``device`` (None: by this thread).

        A part within a part is on the device of the outer one.
        """
        thread = self._of_thread
        outer: list[str] = getattr(thread, "parts", [])
        if not outer:
            thread.on_cuda = device is not None and device.type == "cuda"
        self._switch(outer, [*outer, name])
        try:
            yield
        finally:
            self._switch([*outer, name], outer)

    def each(self, items: Iterable[T], name: str) -> Iterator[T]:
        """The same items; what it takes to get them is ``name``."""
        iterator = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def watching(self, module: nn.Module, name: str) -> Iterator[None]:
        """Calls of ``module`` inside other parts, in any thread, are ``name``."""

        def enter(*_: object) -> None:
            parts = self._of_thread.parts
            self._switch(parts, [*parts, name])

        def leave(*_: object) -> None:
            parts = self._of_thread.parts
            self._switch(parts, parts[:-1])

        hooks = [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def times_s(self) -> dict[str, float]:
        """Seconds by part so far; waits for the device."""
        with self._lock:
            stretches, self._stretches = self._stretches, []
            for name, begun, ended in stretches:
                ended.synchronize()
                self._times_s[name] += begun.elapsed_time(ended) / 1000
            return dict(self._times_s)

    def _switch(self, present: list[str], following: list[str]) -> None:
        """Charge what has passed to the innermost of ``present``."""
        thread = self._of_thread
        now = _now(thread.on_cuda)
        if present:
            name, begun = present[-1], thread.begun
            with self._lock:
                if isinstance(now, float):
                    self._times_s[name] += now - begun
                else:
                    self._stretches.append((name, begun, now))
        thread.begun, thread.parts = now, following


def _now(on_cuda: bool) -> Instant:
    if not on_cuda:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


@dataclass(frozen=True, slots=True)
class Timing:
    """``audio_s`` of speech in ``wall_s``, after ``load_s`` for the model.

    ``work_s`` is by part, summed over all threads (`asr.decode.timing.Stopwatch`).
    """

    audio_s: float
    wall_s: float
    load_s: float
    num_threads: int
    work_s: Mapping[str, float]

    @property
    def real_time_factor(self) -> float:
        """Seconds a second of audio takes; NaN where there is no audio."""
        return self.wall_s / self.audio_s if self.audio_s else float("nan")

    @property
    def shares(self) -> dict[str, float]:
        """Of the work of all threads, by part; an exported model is ``encoder`` as a whole."""
        total_s = sum(self.work_s.values())
        return {part: self.work_s.get(part, 0.0) / total_s if total_s else 0.0 for part in PARTS}

    def __str__(self) -> str:
        """One line."""
        shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in self.shares.items())
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return (
            f"{self.audio_s:.1f} s of audio in {self.wall_s:.2f} s on {threads} "
            f"(real-time factor {self.real_time_factor:.2g}), "
            f"the model loaded in {self.load_s:.2f} s; of the work {shares}"
        )

    def as_json(self) -> str:
        """One line that holds an object: the fields, ``real_time_factor`` and ``shares``."""
        factor = self.real_time_factor if self.audio_s else None
        return json.dumps({**asdict(self), "real_time_factor": factor, "shares": self.shares})
