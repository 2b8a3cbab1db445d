"""Timings at one length: points of a run record, with the baselines timed beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from asr.profiling.latency import Timing, ratio, ratio_interval
from asr.profiling.roofline import Ceilings, RooflineProbe, ceilings, gemm_share


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTiming:
    """An encoder timed in alternation; ``speedup`` is its median over that of the run's encoder.

    ``low`` and ``high`` are the 95 % interval of the speed-up over the rounds, None if there were
    too few or the record does not hold it; ``peak_memory_mib`` is None if it was not measured.
    """

    median_ms: float
    p90_ms: float
    speedup: float
    peak_memory_mib: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePoint(Ceilings):
    """Ceilings timed beside an encoder, and the fraction of the first that it reaches."""

    gemm_share: float

    @classmethod
    def from_timings(
        cls,
        macs: int,
        timing: Timing,
        probed: Mapping[str, RooflineProbe],
        timings: Mapping[str, Timing],
    ) -> Self:
        """Compute the point of an encoder that did ``macs`` in alternation with the probes."""
        found = ceilings(probed, {name: timings[name].median_ms for name in probed})
        share = gemm_share(macs, timing, probed, timings)
        return cls(**asdict(found), gemm_share=share)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPoint:
    """Encoder latency at one length and batch size.

    ``baselines`` holds the encoder without reuse by its attention kernel, "fused" and "explicit",
    ``peers`` encoders of other libraries. ``peak_memory_mib`` is None if it cannot be measured,
    ``num_rounds`` if the record does not hold it, ``roofline`` if no ceilings were timed.
    """

    length_s: float
    batch_size: int
    median_ms: float
    p90_ms: float
    baselines: dict[str, BaselineTiming] = field(default_factory=dict)
    peak_memory_mib: float | None = None
    num_rounds: int | None = None
    peers: dict[str, BaselineTiming] = field(default_factory=dict)
    roofline: RooflinePoint | None = None

    @classmethod
    def from_timings(
        cls,
        timing: Timing,
        *,
        length_s: float,
        batch_size: int,
        baselines: Mapping[str, Timing],
        peers: Mapping[str, Timing] | None = None,
        peak_memory_mib: float | None = None,
        peer_memory_mib: Mapping[str, float | None] | None = None,
    ) -> Self:
        """Make a point from timings of one :func:`asr.profiling.latency.time_alternating`."""
        return cls(
            length_s=length_s,
            batch_size=batch_size,
            median_ms=timing.median_ms,
            p90_ms=timing.p90_ms,
            baselines=_timed_beside(timing, baselines, {}),
            peers=_timed_beside(timing, peers or {}, peer_memory_mib or {}),
            peak_memory_mib=peak_memory_mib,
            num_rounds=len(timing.samples_ms),
        )

    @property
    def audio_s_per_s(self) -> float:
        """Seconds of audio encoded in a second."""
        return self.batch_size * self.length_s / self.median_ms * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStepPoint(LatencyPoint):
    """A training step on a batch of ``batch_size`` utterances of ``length_s``, in ``dtype``.

    Encoder and CTC head forward and backward, and the update of AdamW.
    """

    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPoint(LatencyPoint):
    """Latency on ``num_threads`` CPU threads, with weights and activations in ``dtype``."""

    num_threads: int = 1
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingPoint(LatencyPoint):
    """Time for a chunk of ``length_s`` of ``batch_size`` streams, encoded together.

    ``kept_bytes`` is the memory of one stream from chunk to chunk. ``latency_s`` is the algorithmic
    latency, the longest wait of a frame for audio; None in records that do not hold it.
    """

    latency_s: float | None = None
    p99_ms: float = 0.0
    kept_bytes: int = 0

    @property
    def real_time_factor(self) -> float:
        """Time for a chunk divided by its length."""
        return self.median_ms / 1000 / self.length_s

    @property
    def num_live(self) -> float:
        """Number of live streams that the timed threads can serve, in batches of this size."""
        return self.batch_size / self.real_time_factor


def _timed_beside(
    timing: Timing, others: Mapping[str, Timing], memory_mib: Mapping[str, float | None]
) -> dict[str, BaselineTiming]:
    beside = {}
    for name, other in others.items():
        low, high = ratio_interval(other, timing) or (None, None)
        beside[name] = BaselineTiming(
            median_ms=other.median_ms,
            p90_ms=other.p90_ms,
            speedup=ratio(other, timing),
            peak_memory_mib=memory_mib.get(name),
            low=low,
            high=high,
        )
    return beside
