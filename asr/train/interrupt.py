"""Ctrl-C, SIGTERM and SIGHUP as a wish to stop, not as an exception."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

_NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """Catches SIGINT, SIGTERM and SIGHUP between :meth:`install` and :meth:`restore`.

    A signal that is ignored, as `nohup` has SIGHUP, stays so. The first sets ``requested``; the
    second goes to the handlers that were there before, which normally abort. In a thread other than
    the main one nothing is caught.
    """

    def __init__(self) -> None:
        self.requested = False
        before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in _NAMES}
        self._before: dict[int, Any] = {
            number: handler for number, handler in before.items() if handler is not signal.SIG_IGN
        }

    def install(self) -> None:
        """Start catching."""
        if _is_main_thread():
            for number in self._before:
                signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back as they were when this object was made."""
        if _is_main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if not self.requested:
            self.requested = True
            print(f"\n{name}: stopping after this step (again: abort)", file=sys.stderr, flush=True)
            return
        self.restore()
        signal.raise_signal(number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
