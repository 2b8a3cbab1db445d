"""A training process that stops when the process that started it is no more, however it ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PARENT = "ENCORE_PARENT_PID"
_LOOK_EVERY_S = 0.5
_ENDING = ("SIGTERM", "SIGHUP")


def as_parent() -> dict[str, str]:
    """What the environment of a child must hold that is to stop with this process."""
    return {PARENT: str(os.getpid())}


def stop_with_parent() -> None:
    """From now on send this process SIGTERM once its parent is gone, if that asked for it.

    Without a signal that only Linux has: a thread looks, twice a second, who the parent is.
    """
    parent = os.environ.pop(PARENT, None)  # not for the processes that this one starts
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """In the block SIGTERM and SIGHUP raise KeyboardInterrupt, so that there is time to clean up.

    A signal that is ignored, as `nohup` has it, stays so.
    """
    before = {}
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
