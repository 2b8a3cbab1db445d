"""Encore: speech recognition that computes attention once and plays it again.

The layout of the package follows the path of data:

    audio file -> audio -> features -> encoder (nn + reuse) -> head -> decode -> metrics

``text`` serves both ends, ``data`` makes batches, ``train`` trains, ``measure`` measures models and
returns records, ``report`` makes tables and pages from records, ``interop`` reads and writes files
of other programs, and ``serve`` and ``cli`` are on top. Importing ``asr`` touches no network,
device or random seed.
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

_HOMES = {  # modules of the names that need torch, imported on first use
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
    silence_db: float | None = -80.0,
    batch_s: float | None = None,
    num_threads: int | None = None,
    channels: Channels = "mix",
    beam: int | None = None,
    hotwords: Sequence[str] | Mapping[str, float] = (),
    hotword_weight: float = 0.5,
    lm: str | Path | None = None,
    lm_weight: float | None = None,
    lm_word_bonus: float | None = None,
    lexicon: str | Path | None = None,
    strict: bool = True,
    notify: Callable[[str], None] = lambda message: None,
    plugins: Sequence[str] = (),
) -> Transcriber:
    """Load a trained model, ready to transcribe.

    Args:
        model: run folder, model folder, a file of `asr export`, or ``hf://owner/name`` on the
            Hugging Face Hub, optionally with ``@revision``.
        device: device, such as ``cpu`` or ``cuda``.
        dtype: number format of the encoder: float32, bfloat16, float16, int8 (on a CPU), or auto:
            bfloat16 if the processor or GPU has units for it, else float32.
        exit: number of encoder layers to use, if the head was trained after that layer; None for
            all layers.
        exit_entropy: stop each chunk after the first such layer with at most this mean entropy of
            its probabilities, in nats per frame.
        chunk_s: most seconds of audio encoded at once; longer audio is cut into chunks.
        overlap_s: seconds shared by neighbouring chunks without a pause between them.
        vad: detector of the pauses at which longer audio is cut, and of silence, which is skipped:
            ``energy``, ``silero`` (its network; the extra ``vad``), or ``none``: no pauses.
        silence_db: chunks below this level, in dB of full scale, and steady noise up to 30 dB above
            it have no words; None: every chunk is decoded.
        batch_s: seconds of audio in a batch; None for the default of the device.
        num_threads: CPU threads; None for the number that torch uses.
        channels: ``mix`` for the mean of all, the number of one (from 1), or ``split`` for each
            separately, which only `Transcriber.each` supports.
        beam: prefixes of a beam search; None for the model's own search, or for the default beam
            if hotwords or a language model are given.
        hotwords: phrases to expect, optionally with a factor on the score of each.
        hotword_weight: score added per character of a hotword, a natural logarithm.
        lm: a language model: an ARPA file, or the folder of a Transformer.
        lm_weight: factor on its logarithms; None for the default.
        lm_word_bonus: score added per word; None for the default.
        lexicon: a file with one word per line, to write only these (extra ``flashlight``).
        strict: whether to refuse damaged audio; otherwise its readable part is decoded.
        notify: gets messages about damaged audio, and about channels that cancel each other.
        plugins: your packages with classes that the model needs; their code runs.

    Raises:
        InputError: the model is missing or damaged, or does not support these arguments.
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
            lexicon=lexicon,
        )
    return Transcriber(
        recogniser,
        search,
        chunk_s=chunk_s,
        overlap_s=overlap_s,
        vad=vad,
        silence_db=silence_db,
        batch_s=batch_s,
        num_threads=num_threads,
        channels=channels,
        strict=strict,
        notify=notify,
    )


def main(words: Sequence[str]) -> int:
    """Run an `asr` command, such as ``["bench", "recipes/bench.yaml"]``; return its exit code."""
    from asr.cli.main import main

    return main(words)
