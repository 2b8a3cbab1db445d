"""Made-up run records for the tests of this folder."""

from dataclasses import replace
from typing import Any

from asr.metrics.wer import WordErrors
from asr.profiling.hardware import Hardware, Revision
from asr.profiling.latency import Timing
from asr.profiling.roofline import Ceilings, Work
from asr.report.points import (
    BaselineTiming,
    LatencyPoint,
    RooflinePoint,
    ScalingPoint,
    TrainingStepPoint,
)
from asr.report.record import RunRecord, ScheduledLayer, SplitCounts, SplitWer, TrainingCost

HARDWARE = Hardware(
    cpu_model="Example CPU", num_cores=2, num_threads=1, gpu_model=None, dtype="float32"
)
TRAINING = TrainingCost(
    train_s=314.0,
    cpu_s=300.0,
    num_steps=500,
    num_epochs=8,
    data_wait_share=0.02,
    interrupted=False,
)


def none_record(**changes: Any) -> RunRecord:
    """A finished run without reuse, timed at 15 s and 60 s."""
    record = RunRecord(
        run="none",
        reuse="none",
        command="asr train recipe.yaml reuse=none",
        config={"encoder": {"num_layers": 4, "dropout": 0.1}, "seed": 7, "note": None},
        schedule=tuple(ScheduledLayer(layer=i, role="alone", method="none") for i in range(4)),
        hardware=HARDWARE,
        versions={"python": "3.11.9", "torch": "2.11.0"},
        revision=Revision(commit="0123456789abcdef", dirty=True),
        parameters={"encoder": 1_200_000, "head": 50_000},
        macs={"15": {"encoder": 12_000_000_000, "head": 345_000_000}},
        data={
            "train": SplitCounts(num_utterances=100, hours=0.25, num_words=900, num_left_out=1),
            "test": SplitCounts(num_utterances=2, hours=0.01, num_words=20),
        },
        training=TRAINING,
        wer={"test": SplitWer.from_errors([WordErrors(1, 0, 0, 10), WordErrors(1, 1, 1, 10)])},
        latency=(_point(15.0, 40.0, 200 / 3), _point(60.0, 200.0, 500 / 3)),
        breakdown={
            "15": {"subsampling": 10.0, "scores": 5.0, "softmax": 5.0, "projections": 20.0},
            "60": {"subsampling": 40.0, "scores": 50.0, "softmax": 50.0, "projections": 60.0},
        },
        work={
            "15": {"subsampling": Work(macs=200_000_000, num_bytes=20_000_000)},
            "60": {
                "subsampling": Work(macs=800_000_000, num_bytes=80_000_000),
                "softmax": Work(macs=0, num_bytes=100_000_000),
            },
        },
        ceilings={"15": CEILINGS, "60": CEILINGS},
        scaling=tuple(
            _scaled(num_threads, batch_size) for num_threads in (1, 2) for batch_size in (1, 4)
        ),
        training_step=(_step(15.0, 8), _step(30.0, 4)),
        created_at="2025-01-02T03:04:05+00:00",
    )
    return replace(record, **changes)


def probs_record(**changes: Any) -> RunRecord:
    """The same run with the map of layer 0 reused by the others."""
    leader = ScheduledLayer(layer=0, role="lead", method="probs")
    follower = replace(leader, role="follow", leader=0, heads_reused=4, parameters_saved=1000)
    followers = tuple(replace(follower, layer=i) for i in (1, 2, 3))
    changes = {
        "run": "probs",
        "reuse": "probs",
        "command": "asr train recipe.yaml reuse=probs",
        "schedule": (leader, *followers),
        "parameters": {"encoder": 1_197_000, "head": 50_000},
    } | changes
    return none_record(**changes)


CEILINGS = Ceilings(gemm_gflop_per_s=80.0, bandwidth_gb_per_s=10.0)


def _point(length_s: float, own_ms: float, fused_ms: float) -> LatencyPoint:
    own = Timing.from_samples([own_ms, own_ms, own_ms * 1.5])
    fused = Timing.from_samples([fused_ms * 0.5, fused_ms, fused_ms])
    point = LatencyPoint.from_timings(
        own,
        length_s=length_s,
        batch_size=1,
        baselines={"fused": fused, "explicit": Timing.from_samples([own_ms * 0.9] * 3)},
        peers={"nemo": Timing.from_samples([own_ms * 1.25, own_ms * 1.25, own_ms * 2.25])},
        peak_memory_mib=length_s * 2,
        peer_memory_mib={"nemo": length_s * 4},
    )
    judged = RooflinePoint(gemm_gflop_per_s=80.0, bandwidth_gb_per_s=10.0, gemm_share=0.75)
    return replace(point, roofline=judged)


def _scaled(num_threads: int, batch_size: int) -> ScalingPoint:
    own_ms = 40.0 * batch_size / num_threads
    return ScalingPoint(
        length_s=15.0,
        batch_size=batch_size,
        median_ms=own_ms,
        p90_ms=own_ms,
        baselines={"fused": BaselineTiming(median_ms=50.0, p90_ms=50.0, speedup=1.25)},
        num_threads=num_threads,
    )


def _step(length_s: float, batch_size: int) -> TrainingStepPoint:
    return TrainingStepPoint.from_timings(
        Timing.from_samples([4000.0] * 3),
        length_s=length_s,
        batch_size=batch_size,
        baselines={
            "fused": Timing.from_samples([5000.0] * 3),
            "explicit": Timing.from_samples([6000.0] * 3),
        },
        peers={"nemo": Timing.from_samples([8000.0] * 3)},
        peak_memory_mib=2048.0,
        peer_memory_mib={"nemo": 3072.0},
    )
