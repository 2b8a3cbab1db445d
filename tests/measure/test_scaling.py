from __future__ import annotations

from typing import Any

import pytest

from asr.measure.scaling import measure_scaling
from asr.profiling.latency import Timing, time_alternating
from asr.profiling.scaling import ScalingSpec
from asr.report.further_tables import scaling_table
from tests.model.configs import CONFIG, changed
from tests.report.records import none_record

NONE = {"_target_": "asr.reuse.none.NoReuse", "fused": True}


def test_every_dtype_with_every_number_of_threads_and_every_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def on_one_thread(*args: Any, num_threads: int, **settings: Any) -> dict[str, Timing]:
        asked.append(num_threads)
        return time_alternating(*args, num_threads=1, **settings)

    monkeypatch.setattr("asr.measure.alternation.time_alternating", on_one_thread)
    monkeypatch.setattr("asr.measure.alternation.peak_memory_mib", lambda run, device, warmup: 7.5)
    configs: dict[str, dict[str, Any]] = {"none": changed("reuse", NONE), "pairs": CONFIG}
    spec = ScalingSpec(
        length_s=0.3, num_threads=[1, 2], batch_sizes=[1, 3], dtypes=["float32"], repeats=2
    )
    said: list[str] = []
    found = measure_scaling(configs, spec, report=said.append)
    assert asked == [1, 1, 2, 2]
    assert found.keys() == configs.keys()
    for points in found.values():
        assert [(p.dtype, p.num_threads, p.batch_size) for p in points] == [
            ("float32", 1, 1), ("float32", 1, 3), ("float32", 2, 1), ("float32", 2, 3)
        ]  # fmt: skip
        for point in points:
            assert point.num_rounds == 2
            assert point.peak_memory_mib == 7.5
            assert point.baselines.keys() == {"fused", "explicit"}
            audio_s = point.audio_s_per_s * point.median_ms / 1000
            assert audio_s == pytest.approx(point.batch_size * 0.3)
    assert said[1] == "timing 3 encoders at 3 x 0.3 s, 1 CPU threads, float32"


def test_a_row_for_every_point() -> None:
    table = scaling_table([none_record()])
    assert table is not None
    assert {column.header: column.texts for column in table.columns} == {
        "scaling": ("none",) * 4,
        "dtype": ("float32",) * 4,
        "threads": ("1", "1", "2", "2"),
        "batch": ("1", "4", "1", "4"),
        "ms": ("40.0", "160", "20.0", "80.0"),
        "s/s": ("375", "375", "750", "750"),
        "vs fused": ("1.25x",) * 4,
        "vs explicit": ("-",) * 4,
        "MiB": ("-",) * 4,
    }
    assert scaling_table([none_record(scaling=())]) is None
