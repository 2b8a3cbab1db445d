"""Progress of long steps: lines on standard error, or a bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

from asr.errors import printable

_NUM_LINES = 10  # lines of progress without a terminal


def print_progress(line: str) -> None:
    """Print ``line`` to standard error, with control characters escaped."""
    print(printable(line), file=sys.stderr, flush=True)


def size_text(num_bytes: float) -> str:
    """Format bytes as ``6.4 GB``, in decimal units."""
    if num_bytes < 999.5e3:
        return f"{num_bytes:.0f} B" if num_bytes < 999.5 else f"{num_bytes / 1e3:.0f} kB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 999.5e6 else f"{num_bytes / 1e9:.1f} GB"


class ByteProgress:
    """Display of how many of ``total_num_bytes`` (None: unknown) a step has processed.

    A terminal shows tqdm's bar with rate and time left. Otherwise ``report`` gets a line every
    tenth. It is a context manager, called with the bytes so far.
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
        terminal = sys.stderr if terminal is None else terminal
        self._what = what
        self._total = total_num_bytes
        self._report = report
        self._bar = tqdm(
            desc=what,
            total=total_num_bytes,
            initial=start_num_bytes,
            unit="B",
            unit_scale=True,
            leave=False,
            file=terminal,
            disable=not terminal.isatty(),
        )
        self._next = start_num_bytes + self._step()

    def __enter__(self) -> ByteProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, num_bytes: int) -> None:
        """Show that ``num_bytes`` are done, if an update is due."""
        if not self._bar.disable:
            self._bar.update(num_bytes - self._bar.n)
        elif num_bytes >= self._next:
            self._next = num_bytes + self._step()
            done = size_text(num_bytes)
            if self._total:
                done = f"{num_bytes / self._total:.0%}, {done} of {size_text(self._total)}"
            self._report(f"{self._what}: {done}")

    def _step(self) -> float:
        return self._total / _NUM_LINES if self._total else 1e9
