from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asr.errors import InputError
from asr.measure.streaming import measure_streaming
from asr.profiling.streaming import StreamingSpec
from asr.report.points import StreamingPoint
from asr.report.row_json import json_row
from asr.report.streaming_table import streaming_table
from tests.model.configs import CONFIG, changed
from tests.report.records import none_record

NONE = {"_target_": "asr.reuse.none.NoReuse", "fused": True}
LAYERS, WIDTH, LEFT, KERNEL = 4, 16, 8, 5
KEPT_BY_CONVOLUTIONS = 4 * LAYERS * WIDTH * (KERNEL // 2)


def test_every_chunk_with_every_number_of_streams() -> None:
    configs: dict[str, dict[str, Any]] = {"none": changed("reuse", NONE), "pairs": CONFIG}
    spec = StreamingSpec(
        chunk_frames=[2, 5], num_streams=[1, 3], left_frames=LEFT, repeats=2, warmup=0
    )
    said: list[str] = []
    found = measure_streaming(configs, spec, report=said.append)
    assert found.keys() == configs.keys()
    kept = {"none": 2 * LAYERS, "pairs": 1.5 * LAYERS}  # of a pair: keys once, values twice
    for name, points in found.items():
        assert [(round(p.length_s, 3), p.batch_size) for p in points] == [
            (0.08, 1), (0.08, 3), (0.2, 1), (0.2, 3)
        ]  # fmt: skip
        for point in points:
            assert point.num_rounds == 2
            assert point.latency_s == pytest.approx(point.length_s + 0.015)
            assert point.baselines.keys() == {"fused", "explicit"}
            assert point.median_ms <= point.p99_ms
            assert point.kept_bytes == KEPT_BY_CONVOLUTIONS + 4 * kept[name] * WIDTH * LEFT
            assert point.num_live * point.real_time_factor == pytest.approx(point.batch_size)
    assert said[1] == "timing 3 encoders at 3 streams, chunks of 2 frames"


def test_a_method_that_does_not_stream_is_refused() -> None:
    grouped = {"_target_": "asr.reuse.grouped.Grouped", "frames_per_group": 2}
    with pytest.raises(InputError, match="reuse=grouped attends over whole utterances"):
        measure_streaming({"grouped": changed("reuse", grouped)}, StreamingSpec())


POINT = StreamingPoint(
    length_s=0.32,
    latency_s=0.335,
    batch_size=16,
    median_ms=64.0,
    p90_ms=70.0,
    p99_ms=80.0,
    kept_bytes=5120,
)


def test_a_row_for_every_point() -> None:
    record = replace(none_record(), streaming=(POINT,))
    table = streaming_table([record])
    assert table is not None
    assert {column.header: column.texts for column in table.columns} == {
        "streaming": ("none",),
        "chunk ms": ("320",),
        "latency ms": ("335",),
        "streams": ("16",),
        "ms": ("64.0",),
        "99 %": ("80.0",),
        "RTF": ("0.20",),
        "live": ("80",),
        "KiB kept": ("5.00",),
        "vs fused": ("-",),
        "vs explicit": ("-",),
    }
    assert streaming_table([none_record()]) is None
    assert json_row(record)["streaming"] == [
        {
            "chunk_s": 0.32,
            "num_streams": 16,
            "latency_s": 0.335,
            "median_ms": 64.0,
            "p90_ms": 70.0,
            "p99_ms": 80.0,
            "real_time_factor": pytest.approx(0.2),
            "kept_bytes": 5120,
            "speedup_vs_none": {},
        }
    ]
