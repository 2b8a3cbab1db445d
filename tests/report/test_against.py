from dataclasses import replace

from asr.report.against import against_table
from tests.report.html.pages import seeds
from tests.report.records import none_record, probs_record


def test_libraries_by_run_and_length() -> None:
    short, long = probs_record().latency
    ours = probs_record(latency=(short, replace(long, peers={"parakeet": long.peers["nemo"]})))
    table = against_table([*seeds(none_record(), 2), ours])
    assert table is not None
    assert {column.header: column.texts for column in table.columns} == {
        "against": ("none, 15 s", "none, 60 s", "probs, 15 s", "probs, 60 s"),
        "ms": ("40.0", "200", "40.0", "200"),
        "nemo": ("50.0, 1.25x", "250, 1.25x", "50.0, 1.25x", "-"),
        "parakeet": ("-", "-", "-", "250, 1.25x"),
    }


def test_runs_timed_alone_have_no_row() -> None:
    alone = none_record(latency=tuple(replace(p, peers={}) for p in none_record().latency))
    assert against_table([alone]) is None
