"""A stand-in for the recording of kernels, on the CPU: a replay runs the encoder once more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from asr.encoder import graphed
from asr.types import EncoderOutput


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put it in the place of CUDA graphs."""
    monkeypatch.setattr(graphed, "capture", _capture)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))


def _capture(
    function: Callable[[], EncoderOutput], device: torch.device, pool: object
) -> tuple[EncoderOutput, Callable[[], None]]:
    output = function()

    def replay() -> None:
        again = function()
        output.frames_BTD.copy_(again.frames_BTD)
        output.lengths_B.copy_(again.lengths_B)

    return output, replay
