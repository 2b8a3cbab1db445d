from dataclasses import replace

from asr.report.further_tables import breakdown_table
from tests.report.comparisons import seeds
from tests.report.records import none_record, probs_record


def test_shares_by_run_and_length() -> None:
    fused = {"60": {"fused attention": 30.0, "scores": 10.0}, "5": {"scores": 1.0}}
    table = breakdown_table([none_record(), probs_record(breakdown=fused)])
    assert table is not None
    cells = {column.header: column.texts for column in table.columns}
    assert cells == {
        "time by part": ("none, 15 s", "none, 60 s", "probs, 5 s", "probs, 60 s"),
        "ms": ("40.0", "200", "1.00", "40.0"),
        "subsampling": ("25.0%", "20.0%", "-", "-"),
        "projections": ("50.0%", "30.0%", "-", "-"),
        "scores": ("12.5%", "25.0%", "100.0%", "25.0%"),
        "softmax": ("12.5%", "25.0%", "-", "-"),
        "fused attention": ("-", "-", "-", "75.0%"),
    }


def test_runs_without_parts_have_no_row() -> None:
    bare = replace(probs_record(), breakdown={})
    table = breakdown_table([bare, none_record()])
    assert table is not None
    assert table.columns[0].texts == ("none, 15 s", "none, 60 s")
    assert breakdown_table([bare]) is None


def test_seeds_of_one_encoder_have_one_row() -> None:
    table = breakdown_table([*seeds(none_record(), 3), probs_record(breakdown={})])
    assert table is not None
    assert table.columns[0].texts == ("none, 15 s", "none, 60 s")
