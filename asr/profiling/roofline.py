"""The roofline of this machine: its measured peak arithmetic and memory bandwidth.

After the roofline model of Williams et al. 2009. Two probes are timed in alternation with the
model, so that clock speed and other processes affect all of them alike: a matrix product of the
shape that runs fastest here, and the triad a = b + s c of McCalpin's STREAM on arrays larger than
any cache. A multiply-add counts as two operations.

A part of a model that does few operations per byte read or written (its intensity, FLOP per byte)
is limited by bandwidth if its intensity lies below the ridge, the ratio of the two ceilings. Bytes
are those of the tensors that operations read and write, including those that stay in a cache.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from asr.errors import InputError
from asr.profiling.breakdown import Call, TorchOperation, watch_operations
from asr.profiling.cost import operation_multiply_adds
from asr.profiling.latency import Timing, check_filled, ratio, time_alternating
from asr.ranges import Patience, Range, in_ranges

GEMM, TRIAD = "matrix product", "triad"
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_NUM_TRIES = 3
_FEWEST_MIB = 192.0  # for the triad, if cache sizes are unknown or small
_SHAPES = ((1, 1, 1), (4, 1, 0.25), (4, 0.25, 1))  # rows, inner and columns over the size


@in_ranges("metrics.roofline")
@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineSpec:
    """Settings for measuring the ceilings.

    Products of every size in ``gemm_sizes`` n, square (n x n by n x n) and two rectangular ones of
    as many operations, are tried until one takes ``max_gemm_ms``. The arrays of the triad take
    ``triad_mib`` together; None is twice the largest cache of the CPU, but at least 192. A probe is
    repeated until it takes about ``probe_ms``, so that it is disturbed as an encoder is. Raises
    InputError for a value outside its range.
    """

    gemm_sizes: Sequence[Annotated[int, Range(4, 32_768)]] = (512, 1024, 2048, 4096, 8192)
    max_gemm_ms: Patience = 20.0
    triad_mib: Annotated[float, Range(1, 65_536)] | None = None
    probe_ms: Patience = 100.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gemm_sizes", tuple(sorted(self.gemm_sizes)))
        check_filled("metrics.roofline.gemm_sizes", self.gemm_sizes)
        if any(size % 4 for size in self.gemm_sizes):
            raise InputError(
                f"metrics.roofline.gemm_sizes is {list(self.gemm_sizes)}; multiples of 4 allowed"
            )


class Probing(nn.Module):
    """A probe as a module, so that it can be timed like the parts of a model."""

    def __init__(self, probe: RooflineProbe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self) -> object:
        """Run the probe."""
        return self.probe.run()


class RooflineProbe(NamedTuple):
    """A function to time beside a model, and its ``amount`` of operations or bytes."""

    run: Callable[[], object]
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The highest measured operations (10^9 per second) and traffic (10^9 bytes per second)."""

    gemm_gflop_per_s: float
    bandwidth_gb_per_s: float

    @property
    def ridge(self) -> float:
        """Operations per byte below which bandwidth is the limit."""
        return self.gemm_gflop_per_s / self.bandwidth_gb_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Multiply-adds, and bytes read and written."""

    macs: int
    num_bytes: int

    @property
    def intensity(self) -> float:
        """Operations per byte; 0 if nothing is read or written."""
        return 2 * self.macs / self.num_bytes if self.num_bytes else 0.0


def probes(
    spec: RooflineSpec,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    num_threads: int | None = None,
) -> dict[str, RooflineProbe]:
    """Return the fastest product and the triad, as probes."""
    device = torch.device(device)
    found = {GEMM: _fastest_product(spec, device, dtype, num_threads), TRIAD: _triad(spec, device)}
    timings = time_alternating(
        {name: probe.run for name, probe in found.items()},
        repeats=_NUM_TRIES,
        warmup=1,
        device=device,
        num_threads=num_threads,
    )
    return {
        name: _repeated(probe, round(spec.probe_ms / min(timings[name].samples_ms)))
        for name, probe in found.items()
    }


def ceilings(probed: Mapping[str, RooflineProbe], times_ms: Mapping[str, float]) -> Ceilings:
    """Compute the ceilings from the times of the probes."""
    gemm, triad = (probed[name].amount / times_ms[name] / 1e6 for name in (GEMM, TRIAD))
    return Ceilings(gemm_gflop_per_s=gemm, bandwidth_gb_per_s=triad)


def gemm_share(
    macs: int, timing: Timing, probed: Mapping[str, RooflineProbe], timings: Mapping[str, Timing]
) -> float:
    """Return the rate of operations as a fraction of the matrix product's, paired by round."""
    return 2 * macs / probed[GEMM].amount * ratio(timings[GEMM], timing)


def work_by_part(call: Call, parts: Mapping[str, str]) -> dict[str, Work]:
    """Return the work of each part of one call, with the parts of `asr.profiling.breakdown`."""
    macs: defaultdict[str, int] = defaultdict(int)
    num_bytes: defaultdict[str, int] = defaultdict(int)

    def add(part: str, operation: TorchOperation) -> None:
        macs[part] += operation_multiply_adds(*operation[:4])
        num_bytes[part] += _bytes_moved(operation)

    watch_operations(call, parts, add)
    return {part: Work(macs=macs[part], num_bytes=num_bytes[part]) for part in macs}


def _fastest_product(
    spec: RooflineSpec, device: torch.device, dtype: torch.dtype, num_threads: int | None
) -> RooflineProbe:
    """Time the products of each size in alternation, and return the fastest of all."""
    found: list[tuple[float, RooflineProbe]] = []
    for size in spec.gemm_sizes:
        products = [_product(*shape, device, dtype) for shape in _shapes(size)]
        timings = time_alternating(
            {str(index): product.run for index, product in enumerate(products)},
            repeats=_NUM_TRIES,
            warmup=1,
            device=device,
            num_threads=num_threads,
        )
        times_ms = [min(timing.samples_ms) for timing in timings.values()]
        found += [(one.amount / ms, one) for one, ms in zip(products, times_ms, strict=True)]
        if max(times_ms) >= spec.max_gemm_ms:
            break
    return max(found, key=lambda rated: rated[0])[1]


def _shapes(size: int) -> Iterator[tuple[int, int, int]]:
    for rows, inner, columns in _SHAPES:
        yield int(rows * size), int(inner * size), int(columns * size)


def _product(
    rows: int, inner: int, columns: int, device: torch.device, dtype: torch.dtype
) -> RooflineProbe:
    """Return a product like that of a linear layer, with the same layout of weights."""
    left, right = (torch.randn(n, inner, device=device, dtype=dtype) for n in (rows, columns))

    def run() -> Tensor:
        with torch.inference_mode():
            return functional.linear(left, right)

    return RooflineProbe(run, 2.0 * rows * inner * columns)


def _triad(spec: RooflineSpec, device: torch.device) -> RooflineProbe:
    total_mib = spec.triad_mib or max(_FEWEST_MIB, 2 * _largest_cache_mib())
    size = max(1, int(total_mib * 2**20 / 3 / 4))
    out, left, right = (torch.ones(size, device=device) for _ in range(3))

    def run() -> Tensor:
        return torch.add(left, right, alpha=0.5, out=out)

    return RooflineProbe(run, 3.0 * 4 * size)


def _repeated(probe: RooflineProbe, num_times: int) -> RooflineProbe:
    """Return the probe run ``num_times`` in a row, at least once."""
    num_times = max(1, num_times)

    def run() -> object:
        for _ in range(num_times - 1):
            probe.run()
        return probe.run()

    return RooflineProbe(run, num_times * probe.amount)


def _largest_cache_mib() -> float:
    """Return the largest cache of the first CPU, as Linux reports it, else 0."""
    units = {"K": 2**-10, "M": 1.0, "G": 2.0**10}
    try:
        texts = [path.read_text().strip() for path in _CACHES.glob("index*/size")]
        return max((float(text[:-1]) * units[text[-1]] for text in texts), default=0.0)
    except (OSError, ValueError, KeyError, IndexError):
        return 0.0


def _bytes_moved(operation: TorchOperation) -> int:
    """Return the bytes of the tensors read and written; an allocation moves none."""
    if "empty" in operation.function.overloadpacket.__name__:
        return 0
    return sum(map(_num_bytes, _tensors([operation.args, operation.kwargs, operation.outputs])))


def _num_bytes(tensor: Tensor) -> int:
    """Return the tensor's bytes; an expanded tensor counts only its memory."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())


def _tensors(tree: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
