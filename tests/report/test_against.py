from dataclasses import replace

from asr.report.further_tables import against_table, batch_table
from tests.report.comparisons import seeds
from tests.report.records import none_record, probs_record


def test_libraries_by_run_and_length() -> None:
    short, long = probs_record().latency
    ours = probs_record(
        latency=(short, replace(long, peers={"parakeet": long.peers["nemo"]})), training_step=()
    )
    table = against_table([*seeds(none_record(), 2), ours])
    assert table is not None
    assert {column.header: column.texts for column in table.columns} == {
        "against": (
            *("none, 15 s", "none, 60 s", "probs, 15 s", "probs, 60 s"),
            *("none, step of 8 x 15 s", "none, step of 4 x 30 s"),
        ),
        "ms": ("40.0", "200", "40.0", "200", "4000", "4000"),
        "MiB": ("30.0", "120", "30.0", "120", "2048", "2048"),
        "nemo": (
            *("50.0, 1.25x, 60.0 MiB", "250, 1.25x, 240 MiB", "50.0, 1.25x, 60.0 MiB", "-"),
            *["8000, 2.00x, 3072 MiB"] * 2,
        ),
        "parakeet": ("-", "-", "-", "250, 1.25x, 240 MiB", "-", "-"),
    }


def test_memory_is_told_where_it_was_measured() -> None:
    (point, _) = none_record().latency
    peers = {"nemo": replace(point.peers["nemo"], peak_memory_mib=None)}
    unmeasured = replace(point, peers=peers, peak_memory_mib=None)
    table = against_table([none_record(latency=(unmeasured,), training_step=())])
    assert table is not None
    assert [column.texts for column in table.columns[1:]] == [("40.0",), ("-",), ("50.0, 1.25x",)]


def test_runs_timed_alone_have_no_row() -> None:
    latency, steps = (
        tuple(replace(point, peers={}) for point in points)
        for points in (none_record().latency, none_record().training_step)
    )
    assert against_table([none_record(latency=latency, training_step=steps)]) is None


def test_larger_batches_follow_the_smallest() -> None:
    points = none_record().latency
    large = tuple(replace(point, batch_size=64, median_ms=2 * point.median_ms) for point in points)
    record = none_record(latency=(*large, *points), training_step=())

    table = batch_table([record])

    assert table is not None
    assert {column.header: column.texts for column in table.columns} == {
        "larger batches": ("none", "none"),
        "batch": ("64 x 15 s", "64 x 60 s"),
        "ms": ("80.0", "400"),
        "s/s": ("12000", "9600"),
        "vs fused": ("1.67x", "0.83x"),
        "vs explicit": ("0.90x", "0.90x"),
        "MiB": ("30.0", "120"),
    }
    against = against_table([record])
    assert against is not None
    assert against.columns[0].texts == (
        *("none, 15 s", "none, 60 s", "none, 64 x 15 s", "none, 64 x 60 s"),
    )
    assert batch_table([none_record()]) is None
