"""Savings and cost of SVD-softmax: its time against whole output layers, and its agreement.

Shape legend: N hidden states, D width, V words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr.nn.svd_softmax import SvdLinear, SvdSoftmax
from asr.profiling.latency import Timing, ratio, ratio_interval, time_alternating

SMALLEST, LARGEST, MOST_WEIGHTS = 1 << 10, 1 << 19, 1 << 27
"""Words of the smallest and the largest timed layer, and the most weights of one."""
STATES_AT_ONCE = 64
_REPEATS, _WARMUP, _MAX_POINT_S = 7, 2, 10.0


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """Times of log probabilities for ``num_words`` words by a whole layer and its decomposition."""

    num_words: int
    whole: Timing
    decomposed: Timing
    multiply_adds: float
    """Multiply-adds of the decomposition divided by those of the whole layer."""

    @property
    def speedup(self) -> float:
        """How many times as fast the decomposition is."""
        return ratio(self.whole, self.decomposed)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Interval of the speed-up, over rounds."""
        return ratio_interval(self.whole, self.decomposed)


def time_layers(
    width: int,
    spec: SvdSoftmax,
    *,
    num_states: int,
    sizes: Sequence[int] | None = None,
    num_threads: int | None = None,
) -> Iterator[LayerTimes]:
    """Yield times of random layers, for ``num_states`` hidden states, by rising number of words.

    ``sizes`` are powers of two by default, from twice the refined words up to `MOST_WEIGHTS`.
    """
    sizes = sorted(default_sizes(width, spec.refined_words) if sizes is None else sizes)
    generator = torch.Generator().manual_seed(0)
    largest = nn.Linear(width, sizes[-1])
    with torch.no_grad():
        largest.weight.normal_(std=width**-0.5, generator=generator)
        largest.bias.zero_()
    decomposed = SvdLinear(width, sizes[-1], spec)
    rows_VD = largest.weight.detach()
    decomposed.fill(torch.eye(width), rows_VD, largest.bias.detach())
    hidden_ND = torch.randn(num_states, width, generator=generator)
    for num_words in sizes:
        whole = nn.Linear(width, num_words, device="meta")
        whole.weight = nn.Parameter(rows_VD[:num_words], requires_grad=False)
        whole.bias = nn.Parameter(largest.bias.detach()[:num_words], requires_grad=False)
        yield time_layer(whole, decomposed.first(num_words), hidden_ND, num_threads=num_threads)


def default_sizes(width: int, refined_words: int) -> list[int]:
    """Return the numbers of words to time: powers of two, at least one."""
    least = max(SMALLEST, 2 * refined_words)
    powers = [1 << power for power in range(1, 31)]
    return [one for one in powers if least <= one <= min(LARGEST, MOST_WEIGHTS // width)] or [least]


def time_layer(
    whole: nn.Linear, decomposed: SvdLinear, hidden_ND: Tensor, *, num_threads: int | None = None
) -> LayerTimes:
    """Time both in alternation on the same hidden states, including the log-softmax."""

    def log_probs(layer: nn.Module) -> Tensor:
        with torch.inference_mode():
            found: Tensor = layer(hidden_ND).log_softmax(-1)
        return found

    timed = time_alternating(
        {"whole": lambda: log_probs(whole), "decomposed": lambda: log_probs(decomposed)},
        repeats=_REPEATS,
        warmup=_WARMUP,
        max_point_s=_MAX_POINT_S,
        num_threads=num_threads,
    )
    share = decomposed.multiply_adds() / (whole.in_features * whole.out_features)
    return LayerTimes(whole.out_features, timed["whole"], timed["decomposed"], share)


def pays_from(times: Iterator[LayerTimes]) -> int | None:
    """Return the first of two successive sizes at which the decomposition is faster, or None.

    Larger sizes are not timed.
    """
    first: int | None = None
    for one in times:
        if one.speedup <= 1:
            first = None
        elif first is None:
            first = one.num_words
        else:
            return first
    return first


@dataclass(frozen=True, slots=True)
class SvdAgreement:
    """Agreement of a decomposed layer with the whole one on hidden states of its model.

    ``same_best`` is the fraction with the same most probable word. ``best_error`` is the mean
    difference in log probability of the whole layer's best word, ``worst_error`` the largest;
    ``normaliser_error`` is the mean difference of the normalisers.
    """

    num_states: int
    same_best: float
    best_error: float
    worst_error: float
    normaliser_error: float

    def __str__(self) -> str:
        return (
            f"best word the same at {100 * self.same_best:.2f} % of {self.num_states:,} hidden "
            f"states, its log probability off by {self.best_error:.3f} nats in the mean and "
            f"{self.worst_error:.3f} at most, the normaliser by {self.normaliser_error:.3f}"
        )


@torch.inference_mode()
def agreement(whole: nn.Linear, decomposed: SvdLinear, hidden_ND: Tensor) -> SvdAgreement:
    """Compare both on ``hidden_ND``, some states at a time."""
    same, errors, normalisers = 0, [], []
    for some_ND in torch.split(hidden_ND, STATES_AT_ONCE):
        exact_NV, ours_NV = whole(some_ND).float(), decomposed(some_ND).float()
        best_N1 = exact_NV.argmax(-1, keepdim=True)
        same += int((ours_NV.argmax(-1, keepdim=True) == best_N1).sum())
        exact_N1, ours_N1 = (one.logsumexp(-1, keepdim=True) for one in (exact_NV, ours_NV))
        normalisers.append((exact_N1 - ours_N1).abs())
        of_best_N1 = exact_NV.gather(1, best_N1) - ours_NV.gather(1, best_N1)
        errors.append((of_best_N1 - exact_N1 + ours_N1).abs())
    error_N1, normaliser_N1 = torch.cat(errors), torch.cat(normalisers)
    return SvdAgreement(
        num_states=len(hidden_ND),
        same_best=same / len(hidden_ND),
        best_error=float(error_N1.mean()),
        worst_error=float(error_N1.max()),
        normaliser_error=float(normaliser_N1.mean()),
    )
