"""One training step as a function to time: forward, backward and the update of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.profiling.latency import check_filled
from asr.ranges import AudioLength, BatchDuration, Patience, Rounds, Threads, Warmup, in_ranges

AUTOCAST_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}
"""Autocast's dtype by its name in the config; None without autocast."""


@in_ranges("metrics.training_step")
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStepSpec:
    """Settings: a batch of ``batch_s`` seconds of audio for every length of utterance.

    ``lengths_s`` are seconds of audio of one utterance; a batch holds as many as fit. ``dtype`` is
    that of matrix products: float32, or bfloat16 under autocast with weights in float32. Rounds are
    as in `asr.profiling.latency.LatencySpec`. Raises InputError for a value outside its range.
    """

    lengths_s: Sequence[AudioLength]
    batch_s: BatchDuration = 120.0
    dtype: str = "float32"
    repeats: Rounds = 5
    warmup: Warmup = 1
    num_threads: Threads | None = None
    max_point_s: Patience | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths_s", tuple(float(x) for x in self.lengths_s))
        check_filled("metrics.training_step.lengths_s", self.lengths_s)
        if self.batch_s < max(self.lengths_s):
            raise InputError(
                f"metrics.training_step.batch_s is {self.batch_s:g}; at least the longest of "
                f"metrics.training_step.lengths_s, {max(self.lengths_s):g}, allowed"
            )
        if self.dtype not in AUTOCAST_DTYPES:
            raise InputError(
                f"metrics.training_step.dtype is {self.dtype!r}; "
                f"{' or '.join(AUTOCAST_DTYPES)} allowed"
            )

    def batch_size(self, length_s: float) -> int:
        """Return how many utterances of ``length_s`` fit in a batch."""
        return int(self.batch_s / length_s + 1e-6)


def training_step(
    module: nn.Module,
    loss: Callable[[], Tensor],
    *,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
) -> Callable[[], None]:
    """Return a step: ``loss()`` forward and backward, then AdamW on the parameters of ``module``.

    ``module`` is put in training mode, and ``loss`` must use it. The learning rate is zero, so that
    every step is like the first; AdamW still reads and writes as usual. Gradients are freed at the
    end, so that the peak memory of a step includes them; the state of AdamW stays.
    """
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.0, fused=True)
    device_type, autocast = torch.device(device).type, AUTOCAST_DTYPES[dtype]

    def step() -> None:
        with torch.autocast(device_type, dtype=autocast, enabled=autocast is not None):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
