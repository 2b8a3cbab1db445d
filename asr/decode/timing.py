"""Profiling of decoding: the time spent on reading audio, finding pauses, features,
encoder and search."""

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
from torch.utils.hooks import RemovableHandle

PARTS = ("decode", "vad", "features", "encoder", "search")
"""Parts of the work: files to waveforms, pauses, features and encoder, model output to words."""

T = TypeVar("T")
Instant = float | torch.cuda.Event


@dataclass(slots=True)
class _Profiled:
    """The hooks of a module, and the number of blocks that use them."""

    hooks: list[RemovableHandle]
    num_inside: int = 0


class Profiler:
    """Seconds of work by part, summed over all threads.

    The time of a part inside another counts only for the inner one. Work on a CUDA device is timed
    by events in its stream, so profiling does not synchronise.
    """

    def __init__(self) -> None:
        self._times_s: defaultdict[str, float] = defaultdict(float)
        self._cuda_spans: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._lock = Lock()
        self._of_thread = local()
        self._profiled: dict[tuple[nn.Module, str], _Profiled] = {}

    @contextmanager
    def part(self, name: str, device: torch.device | None = None) -> Iterator[None]:
        """Count the time of the block as ``name``; its work runs on ``device`` (None: this thread).

        A part inside another has the device of the outer one.
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
        """Yield ``items``; count the time of getting them as ``name``."""
        iterator = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def profile_module(self, module: nn.Module, name: str) -> Iterator[None]:
        """Count calls of ``module`` inside other parts, in any thread, as ``name``.

        Several threads may be inside the block at once; calls outside other parts do not count.
        """

        def enter(*_: object) -> None:
            if parts := getattr(self._of_thread, "parts", None):
                self._switch(parts, [*parts, name])

        def leave(*_: object) -> None:
            if parts := getattr(self._of_thread, "parts", None):
                self._switch(parts, parts[:-1])

        key = (module, name)
        with self._lock:
            if key not in self._profiled:
                self._profiled[key] = _Profiled(
                    [
                        module.register_forward_pre_hook(enter),
                        module.register_forward_hook(leave, always_call=True),
                    ]
                )
            self._profiled[key].num_inside += 1
        try:
            yield
        finally:
            with self._lock:
                profiled = self._profiled[key]
                profiled.num_inside -= 1
                if not profiled.num_inside:
                    for hook in self._profiled.pop(key).hooks:
                        hook.remove()

    def times_s(self) -> dict[str, float]:
        """Return seconds by part so far; synchronise the device."""
        with self._lock:
            spans, self._cuda_spans = self._cuda_spans, []
            for name, begun, ended in spans:
                ended.synchronize()
                self._times_s[name] += begun.elapsed_time(ended) / 1000
            return dict(self._times_s)

    def _switch(self, present: list[str], following: list[str]) -> None:
        """Count the time since the last switch for the innermost of ``present``."""
        thread = self._of_thread
        now = _now(thread.on_cuda)
        if present:
            name, begun = present[-1], thread.begun
            with self._lock:
                if isinstance(now, float):
                    self._times_s[name] += now - begun
                else:
                    self._cuda_spans.append((name, begun, now))
        thread.begun, thread.parts = now, following


def _now(on_cuda: bool) -> Instant:
    if not on_cuda:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


@dataclass(frozen=True, slots=True)
class DecodingTime:
    """Time of decoding ``audio_s`` of audio: ``wall_s``, and ``load_s`` to load the model.

    ``work_s`` is the time by part, summed over all threads (`Profiler`).
    """

    audio_s: float
    wall_s: float
    load_s: float
    num_threads: int
    work_s: Mapping[str, float]

    @property
    def real_time_factor(self) -> float:
        """Seconds of decoding per second of audio; NaN without audio."""
        return self.wall_s / self.audio_s if self.audio_s else float("nan")

    @property
    def shares(self) -> dict[str, float]:
        """Each part's fraction of the work; an exported model counts entirely as ``encoder``."""
        total_s = sum(self.work_s.values())
        return {part: self.work_s.get(part, 0.0) / total_s if total_s else 0.0 for part in PARTS}

    def __str__(self) -> str:
        """Describe the times in one line."""
        shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in self.shares.items())
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return (
            f"{self.audio_s:.1f} s of audio in {self.wall_s:.2f} s on {threads} "
            f"(real-time factor {self.real_time_factor:.2g}), "
            f"the model loaded in {self.load_s:.2f} s; of the work {shares}"
        )

    def as_json(self) -> str:
        """Return a JSON object on one line: the fields, ``real_time_factor`` and ``shares``."""
        factor = self.real_time_factor if self.audio_s else None
        return json.dumps({**asdict(self), "real_time_factor": factor, "shares": self.shares})
