"""Silencing of decoders: libmpg123 prints a line about every damaged frame."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_num_inside = 0
_before: int | None = None
_sink: int | None = None


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Discard what C code writes to its ``stderr`` inside the block; Python's stderr is unchanged.

    Several threads may be inside at once. Where the C library does not support it, nothing changes.
    """
    global _num_inside
    with _lock:
        _num_inside += 1
        if _num_inside == 1:
            _replace()
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if not _num_inside:
                _restore()


def _variable() -> ctypes.c_void_p | None:
    """Return the C library's variable ``stderr``."""
    library = ctypes.CDLL(None)
    for name in ("stderr", "__stderrp"):
        try:
            return ctypes.c_void_p.in_dll(library, name)
        except ValueError:
            continue
    return None


def _replace() -> None:
    global _before, _sink
    variable = _variable()
    if variable is None:
        return
    if _sink is None:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        _sink = library.fopen(os.fsencode(os.devnull), b"w")
    if _sink is not None:
        _before, variable.value = variable.value, _sink


def _restore() -> None:
    global _before
    variable = _variable()
    if variable is not None and _before is not None:
        variable.value = _before
    _before = None
