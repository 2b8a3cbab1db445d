"""Stopping a training process when its parent process ends, and cleaning up after signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

PARENT = "ENCORE_PARENT_PID"
_LOOK_EVERY_S = 0.5
_ENDING = ("SIGTERM", "SIGHUP")


def as_parent() -> dict[str, str]:
    """Return the environment variable for a child that should stop with this process."""
    return {PARENT: str(os.getpid())}


@contextmanager
def environment_of_children(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started in the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def stop_with_parent() -> None:
    """Send this process SIGTERM when its parent ends, if the parent used `as_parent`.

    A thread polls the parent's id twice a second, which works on every system.
    """
    parent = os.environ.pop(PARENT, None)  # children of this process do not inherit it
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the block, so that it can clean up.

    Ignored signals, as under `nohup`, stay ignored.
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
