"""What a long step says about itself: lines on standard error, and a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from asr.printable import printable

_BAR_CELLS = 24
_REDRAW_S = 0.1
_NUM_LINES = 10  # a step without a terminal says so many times how far it is


def print_progress(line: str) -> None:
    """Print ``line`` where it does not mix with results; what a terminal obeys is escaped."""
    print(printable(line), file=sys.stderr, flush=True)


def size_text(num_bytes: float) -> str:
    """``6.4 GB``; decimal units, as disks and downloads are sold."""
    if num_bytes < 999.5e3:
        return f"{num_bytes:.0f} B" if num_bytes < 999.5 else f"{num_bytes / 1e3:.0f} kB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 999.5e6 else f"{num_bytes / 1e9:.1f} GB"


class Meter:
    """How many bytes of ``total_num_bytes`` (None: not known) a step has gone through.

    A terminal shows a bar with rate and time left. Elsewhere ``report`` gets a line every tenth.
    Use it as a context manager, and call it with the bytes so far.
    """

    def __init__(
        self,
        what: str,
        total_num_bytes: int | None,
        report: Callable[[str], None],
        *,
        start_num_bytes: int = 0,
        terminal: TextIO | None = None,
    ) -> None:
        self._what = what
        self._total = total_num_bytes
        self._report = report
        self._start = start_num_bytes
        terminal = sys.stderr if terminal is None else terminal
        self._terminal = terminal if terminal.isatty() else None
        self._began_s = time.monotonic()
        self._drawn_s = 0.0
        self._next = self._step()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal is not None:
            self._terminal.write("\r\x1b[K")
            self._terminal.flush()

    def __call__(self, num_bytes: int) -> None:
        """Show that ``num_bytes`` are done, where it is time to."""
        if self._terminal is not None:
            now_s = time.monotonic()
            if now_s - self._drawn_s >= _REDRAW_S:
                self._drawn_s = now_s
                self._terminal.write(f"\r\x1b[K{self.line(num_bytes, now_s - self._began_s)}")
                self._terminal.flush()
        elif num_bytes >= self._next:
            self._next = num_bytes + self._step()
            self._report(self.line(num_bytes, time.monotonic() - self._began_s))

    def line(self, num_bytes: int, elapsed_s: float) -> str:
        """The state after ``elapsed_s`` seconds, as shown."""
        rate = (num_bytes - self._start) / max(elapsed_s, 1e-3)
        speed = f"{size_text(rate)}/s"
        if not self._total:
            return f"{self._what}: {size_text(num_bytes)}, {speed}"
        share = min(1.0, num_bytes / self._total)
        amount = f"{size_text(num_bytes)} of {size_text(self._total)}"
        left = f", {_time_text((self._total - num_bytes) / rate)} left" if rate > 0 else ""
        bar = ""
        if self._terminal is not None:
            full = round(_BAR_CELLS * share)
            bar = f" [{'#' * full}{'.' * (_BAR_CELLS - full)}]"
        return f"{self._what}:{bar} {share:.0%}, {amount}, {speed}{left}"

    def _step(self) -> float:
        return self._total / _NUM_LINES if self._total else 1e9


def _time_text(seconds: float) -> str:
    minutes = round(max(0.0, seconds) / 60)
    if minutes < 1:
        return f"{max(0.0, seconds):.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
