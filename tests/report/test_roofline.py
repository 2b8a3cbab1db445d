from __future__ import annotations

from dataclasses import replace

import pytest

from asr.profiling.roofline import Ceilings, Work
from asr.report.further_tables import Reached, reached_by_part, roofline_table
from tests.report.records import none_record

CEILINGS = Ceilings(gemm_gflop_per_s=80.0, bandwidth_gb_per_s=10.0)


@pytest.mark.parametrize(
    ("work", "bandwidth_binds", "share"),
    [
        (Work(macs=20_000_000, num_bytes=1_000_000), False, 0.5),  # 40 FLOP/byte at 40 GFLOP/s
        (Work(macs=1_000_000, num_bytes=1_000_000), True, 0.1),  # 2 FLOP/byte at 1 GB/s
        (Work(macs=0, num_bytes=15_000_000), True, 1.5),  # from a cache
    ],
)
def test_the_ceiling_that_binds(work: Work, bandwidth_binds: bool, share: float) -> None:
    reached = Reached.from_work(work, 1.0, CEILINGS)
    assert reached.bandwidth_binds == bandwidth_binds
    assert reached.share == pytest.approx(share)
    assert reached.intensity == work.intensity


def test_parts_are_those_timed() -> None:
    record = none_record()
    assert reached_by_part(record, "60").keys() == {"subsampling", "softmax"}
    assert reached_by_part(record, "15")["subsampling"].gflop_per_s == pytest.approx(40.0)
    assert reached_by_part(record, "5") == {}
    assert reached_by_part(replace(record, ceilings={}), "15") == {}
    idle = replace(record, breakdown={"15": {"subsampling": 0.0}})
    assert reached_by_part(idle, "15") == {}


def test_shares_by_run_and_length() -> None:
    table = roofline_table([none_record()])
    assert table is not None
    assert {column.header: column.texts for column in table.columns} == {
        "roofline": ("none, 15 s", "none, 60 s"),
        "GFLOP/s": ("80.0", "80.0"),
        "GB/s": ("10.0", "10.0"),
        "whole": ("75%", "75%"),
        "subsampling": ("50%", "50%"),
        "softmax": ("-", "bw 20%"),
    }


def test_without_ceilings_there_is_no_table() -> None:
    bare = tuple(replace(point, roofline=None) for point in none_record().latency)
    assert roofline_table([none_record(latency=bare)]) is None
