"""Encore: speech recognition that computes attention once and plays it again.

The path of data is the layout of the package:

    audio file -> audio -> features -> encoder (nn + reuse) -> head -> decode -> metrics

``text`` serves both ends, ``data`` makes batches, ``train`` trains, ``measure`` makes records of
what was measured, ``report`` tells them, ``interop`` talks to other programs and ``cli`` sits on
top. Importing ``asr`` touches no network, device or random seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import InputError, RunError

if TYPE_CHECKING:
    from asr.decode.transcribe import Transcriber

__version__ = "0.1.0"
__all__ = ["InputError", "RunError", "__version__", "load", "main"]


def load(
    model: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    chunk_s: float = 30.0,
    overlap_s: float = 4.0,
) -> Transcriber:
    """A trained model, ready to transcribe.

    Args:
        model: run folder, model folder, or a file that `asr export` wrote.
        device: where it computes, such as ``cpu`` or ``cuda``.
        dtype: what its encoder computes in: float32, bfloat16 or float16.
        chunk_s: seconds of audio that are encoded at once; longer audio is cut into chunks.
        overlap_s: seconds that neighbouring chunks share.

    Raises:
        InputError: no such model, a damaged one, or one that cannot run like this.
    """
    from asr.decode.recogniser import load_recogniser
    from asr.decode.transcribe import Transcriber
    from asr.model.build import build

    recogniser = load_recogniser(Path(model), device, dtype)
    decoder = build(recogniser.config["decode"], "decode")
    return Transcriber(recogniser, decoder, chunk_s=chunk_s, overlap_s=overlap_s)


def main(words: Sequence[str]) -> int:
    """Run an `asr` command, such as ``["bench", "recipes/bench.yaml"]``; its exit code."""
    from asr.cli.main import main

    return main(words)
