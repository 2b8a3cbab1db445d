"""CUDA graphs for short audio: the encoder is recorded once per shape, then replayed.

On short audio a GPU waits for the program, which launches the encoder's hundreds of small kernels
one by one; a recording is launched at once. A recording has one shape, so audio is padded to the
next of a few lengths; padding changes no valid frame.

Shape legend: B batch, T feature frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asr.encoder.stack import Encoder
from asr.errors import InputError
from asr.features.shapes import padded_length
from asr.profiling.latency import clock_ms
from asr.types import EncoderOutput

LONGEST_FRAMES = 6144
"""Feature frames, a minute of audio: longer audio keeps a GPU busy without graphs."""
MOST_RECORDINGS = 64
_WARM_UP_CALLS = 2  # the first compiles and chooses kernels


class Shape(NamedTuple):
    """The shape and dtype of a recording's inputs."""

    batch_size: int
    num_frames: int
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class CapturedGraph:
    """A recorded call: ``replay`` computes ``output`` from the inputs, all of them in place."""

    features_BTF: Tensor
    lengths_B: Tensor
    output: EncoderOutput
    replay: Callable[[], None]


class GraphedEncoder:
    """An encoder for inference on CUDA that replays recordings for short audio.

    A shape is recorded when it occurs for the second time. Longer audio, shapes beyond the limit,
    calls with gradients and calls for intermediate layers use the encoder itself.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.num_calls = 0
        self.num_replayed = 0
        self.record_s = 0.0
        self._recordings: dict[Shape, CapturedGraph] = {}
        self._met: set[Shape] = set()
        self._pool: Any = None

    def __call__(
        self,
        features_BTF: Tensor,
        lengths_B: Tensor,
        intermediate_layers: Collection[int] = (),
    ) -> EncoderOutput:
        """Return what `Encoder.forward` returns."""
        self.num_calls += 1
        batch_size, num_frames, _ = features_BTF.shape
        shape = Shape(batch_size, padded_length(num_frames), features_BTF.dtype)
        if torch.is_grad_enabled() or intermediate_layers or shape.num_frames > LONGEST_FRAMES:
            return self._plainly(features_BTF, lengths_B, intermediate_layers)
        if shape not in self._recordings:
            is_new = shape not in self._met
            self._met.add(shape)
            if is_new or len(self._recordings) == MOST_RECORDINGS:
                return self._plainly(features_BTF, lengths_B)
            self.record(features_BTF)
        self.num_replayed += 1
        recording = self._recordings[shape]
        recording.features_BTF[:, :num_frames].copy_(features_BTF)
        recording.lengths_B.copy_(lengths_B)
        recording.replay()
        num_kept = -(-num_frames // self.encoder.subsampling_factor)
        return EncoderOutput(
            recording.output.frames_BTD[:, :num_kept].clone(), recording.output.lengths_B.clone()
        )

    def __str__(self) -> str:
        return (
            f"CUDA graphs: {len(self._recordings)} recorded in {self.record_s:.1f} s, "
            f"{self.num_replayed} of {self.num_calls} calls replayed"
        )

    def record(self, features_BTF: Tensor) -> None:
        """Record the call that later calls with features (B, T, F) of this shape replay."""
        batch_size, num_frames, num_mel_bins = features_BTF.shape
        shape = Shape(batch_size, padded_length(num_frames), features_BTF.dtype)
        device = features_BTF.device
        start_ms = clock_ms(device)
        # Tensors written in place, in and out of inference mode, must be made outside it.
        with torch.inference_mode(False), torch.no_grad():
            features_BTF = torch.zeros(
                batch_size, shape.num_frames, num_mel_bins, dtype=shape.dtype, device=device
            )
            lengths_B = torch.ones(batch_size, dtype=torch.long, device=device)
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            output, replay = capture(
                lambda: self.encoder(features_BTF, lengths_B), device, self._pool
            )
        self._recordings[shape] = CapturedGraph(features_BTF, lengths_B, output, replay)
        self.record_s += (clock_ms(device) - start_ms) / 1000

    def _plainly(self, *args: Any) -> EncoderOutput:
        output: EncoderOutput = self.encoder(*args)
        return output


def capture(
    function: Callable[[], EncoderOutput], device: torch.device, pool: Any
) -> tuple[EncoderOutput, Callable[[], None]]:
    """Record the kernels of ``function``; return its output and a function that runs them again.

    ``pool`` is memory that recordings share: none may run while the output of another is needed.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP_CALLS):
                function()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            output = function()
    return output, graph.replay


def check_graphs(device: torch.device | str, key: str) -> None:
    """Raise InputError, naming ``key``, unless ``device`` supports CUDA graphs."""
    if torch.device(device).type != "cuda":
        raise InputError(f"{key}: CUDA graphs need a CUDA device, not {device}")
