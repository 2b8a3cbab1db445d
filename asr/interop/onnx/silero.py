"""Voice activity detection by silero's network (Silero Team 2021-2026), in ONNX Runtime.

The wheel silero-vad carries the network as a file that takes many windows in one call. Only the
file is used; the package is not imported.

Shape legend: N samples, W windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr.errors import InputError
from asr.files import read_bytes
from asr.interop.onnx.file import Session

SILERO_RATE_HZ = 16_000
SILERO_WINDOW = 512
"""Samples per probability."""

_CONTEXT = 64  # samples of the last window that the network reads again
_STATE = 128
_FILE = Path("data", "silero_vad_16k_sequence.onnx")  # since 6.2.2
_MAX_BYTES = 32 << 20
_OUTPUTS = ("speech_probs", "hn", "cn")


class SileroVad:
    """The loaded network. Several threads may call it at once."""

    def __init__(self, path: Path) -> None:
        content = read_bytes(path, most=_MAX_BYTES)
        self._session = Session(content, where=path, num_threads=1)

    def probabilities(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield for each block of samples (N,), at 16 kHz, the probabilities (W,) of speech.

        They belong to the windows that the block completes. The last window of the recording is
        padded with zeros; its probability is yielded separately after the last block.
        """
        context = np.zeros(_CONTEXT, dtype=np.float32)
        rest = np.empty(0, dtype=np.float32)
        state = (torch.zeros(1, 1, _STATE), torch.zeros(1, 1, _STATE))
        for block in blocks:
            samples = np.concatenate([context, rest, block])
            probs_W, state = self._run(samples, state)
            done = _CONTEXT + len(probs_W) * SILERO_WINDOW
            context, rest = samples[done - _CONTEXT : done], samples[done:]
            yield probs_W
        if len(rest):
            padding = np.zeros(SILERO_WINDOW - len(rest), dtype=np.float32)
            yield self._run(np.concatenate([context, rest, padding]), state)[0]

    def _run(
        self, samples_N: NDArray[np.float32], state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[NDArray[np.float32], tuple[torch.Tensor, torch.Tensor]]:
        """Return probabilities of the whole windows after the context, and the new state."""
        num_windows = (len(samples_N) - _CONTEXT) // SILERO_WINDOW
        if not num_windows:
            return np.empty(0, dtype=np.float32), state
        size = _CONTEXT + SILERO_WINDOW
        windows = np.lib.stride_tricks.sliding_window_view(samples_N, size)[::SILERO_WINDOW]
        hidden, cell = state
        inputs = {"input": torch.from_numpy(windows.copy()), "h": hidden, "c": cell}
        probs, hidden, cell = self._session(inputs, _OUTPUTS)
        found_W: NDArray[np.float32] = probs.reshape(-1).numpy()
        return found_W, (hidden, cell)


@cache
def silero_vad() -> SileroVad:
    """Load the network of the installed wheel, once per process.

    Raises:
        InputError: the wheel has no such file.
    """
    spec = find_spec("silero_vad")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    for path in (Path(folder) / _FILE for folder in folders):
        if path.is_file():
            return SileroVad(path)
    raise InputError(
        f"the installed silero-vad has no {_FILE.name}; needed is 6.2.2 or newer: "
        "pip install -U 'encore-asr[vad]'"
    )
