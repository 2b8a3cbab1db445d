"""Encore: speech recognition that computes attention once and plays it again.

The path of data is the layout of the package:

    audio file -> audio -> features -> encoder (nn + reuse) -> head -> decode -> metrics

``text`` serves both ends, ``data`` makes batches, ``train`` trains, ``measure`` makes records of
what was measured, ``report`` tells them, ``interop`` talks to other programs and ``cli`` sits on
top. Importing ``asr`` touches no network, device or random seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import InputError, RunError

if TYPE_CHECKING:
    from asr.decode.endpoint import Endpoint
    from asr.decode.greedy import TimedWord
    from asr.decode.progress import Progress
    from asr.decode.streaming import LiveStream, StreamResult
    from asr.decode.transcribe import Channels, Transcriber
    from asr.decode.transcript import Segment, Transcript

__version__ = "0.1.0"
__all__ = [
    "Endpoint",
    "InputError",
    "LiveStream",
    "Progress",
    "RunError",
    "Segment",
    "StreamResult",
    "TimedWord",
    "Transcriber",
    "Transcript",
    "__version__",
    "load",
    "main",
]

_HOMES = {  # modules of the names that need torch, which are imported when they are asked for
    "Endpoint": "asr.decode.endpoint",
    "LiveStream": "asr.decode.streaming",
    "Progress": "asr.decode.progress",
    "StreamResult": "asr.decode.streaming",
    "Segment": "asr.decode.transcript",
    "TimedWord": "asr.decode.greedy",
    "Transcriber": "asr.decode.transcribe",
    "Transcript": "asr.decode.transcript",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def load(
    model: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    exit: int | None = None,
    exit_entropy: float | None = None,
    chunk_s: float = 30.0,
    overlap_s: float = 4.0,
    vad: str = "energy",
    batch_s: float | None = None,
    num_threads: int | None = None,
    channels: Channels = "mix",
    beam: int | None = None,
    hotwords: Sequence[str] | Mapping[str, float] = (),
    hotword_weight: float = 0.5,
    lm: str | Path | None = None,
    lm_weight: float | None = None,
    lm_word_bonus: float | None = None,
    strict: bool = True,
    notify: Callable[[str], None] = lambda message: None,
    plugins: Sequence[str] = (),
) -> Transcriber:
    """A trained model, ready to transcribe.

    Args:
        model: run folder, model folder, a file that `asr export` wrote, or ``hf://owner/name`` on
            the Hugging Face Hub, with ``@revision`` where one is wanted.
        device: where it computes, such as ``cpu`` or ``cuda``.
        dtype: what its encoder computes in: float32, bfloat16, float16, int8 (on a CPU), or
            auto: bfloat16 where the processor or the GPU has units for it, else float32.
        exit: layers of the encoder behind which to stop, where its head was trained too; None for
            all layers.
        exit_entropy: stop each chunk behind the first such layer whose probabilities have this mean
            entropy or less, in nats a frame.
        chunk_s: seconds of audio that are encoded at once; longer audio is cut into chunks.
        overlap_s: seconds that neighbouring chunks share where there is no pause between them.
        vad: what finds the pauses in which longer audio is cut, and silence, which is skipped:
            ``energy``, ``silero`` (its network; the extra ``vad``), or ``none``: no pauses.
        batch_s: seconds of audio in a batch; None for what suits the device.
        num_threads: CPU threads; None for those that torch has.
        channels: ``mix`` for the mean of all, the number of one (from 1), or ``split`` for each by
            itself, which only `Transcriber.each` gives.
        beam: prefixes of a beam search; None for the model's own search, and for the usual beam
            where hotwords or a language model are given.
        hotwords: phrases to expect, or how many times as much as others each counts.
        hotword_weight: what each character of a hotword adds to the score, a natural logarithm.
        lm: a language model: an ARPA file, or the folder of a Transformer.
        lm_weight: what its logarithms are multiplied by; None for the usual weight.
        lm_word_bonus: what every word adds to the score; None for the usual one.
        strict: whether to refuse damaged audio; else it is read as far as it decodes.
        notify: gets messages about damaged audio that is read, and channels that cancel.
        plugins: packages of yours whose classes the model needs; their code runs.

    Raises:
        InputError: no such model, a damaged one, or one that cannot run like this.
    """
    from asr.decode.recogniser import load_recogniser
    from asr.decode.search import load_search
    from asr.decode.transcribe import Transcriber
    from asr.interop.hub import local_model
    from asr.model.plugins import named

    with named(plugins):
        recogniser = load_recogniser(
            local_model(model), device, dtype, exit=exit, exit_entropy=exit_entropy
        )
        search = load_search(
            recogniser,
            beam=beam,
            hotwords=hotwords,
            hotword_weight=hotword_weight,
            lm=lm,
            lm_weight=lm_weight,
            lm_word_bonus=lm_word_bonus,
        )
    return Transcriber(
        recogniser,
        search,
        chunk_s=chunk_s,
        overlap_s=overlap_s,
        vad=vad,
        batch_s=batch_s,
        num_threads=num_threads,
        channels=channels,
        strict=strict,
        notify=notify,
    )


def main(words: Sequence[str]) -> int:
    """Run an `asr` command, such as ``["bench", "recipes/bench.yaml"]``; its exit code."""
    from asr.cli.main import main

    return main(words)
