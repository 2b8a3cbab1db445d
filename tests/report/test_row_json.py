import json
from dataclasses import replace
from pathlib import Path

import pytest

from asr.metrics.wer import WordErrors
from asr.report.hypotheses import WerDifference
from asr.report.record import SplitWer
from asr.report.row_json import json_row, write_rows
from tests.report.comparisons import seeds
from tests.report.records import none_record, probs_record

RECORD = probs_record()
WRITTEN = Path(__file__).parents[1] / "golden" / "rows.json"


def test_row_is_the_documented_one() -> None:
    assert json_row(RECORD) == {
        "run": "probs",
        "reuse": "probs",
        "schedule": "LFFF",
        "num_params": 1_247_000,
        "macs": {"15": 12_345_000_000},
        "wer": {
            "test": {
                "wer": 20.0,
                "low": 10.0,
                "high": 30.0,
                "sub": 2,
                "del": 1,
                "ins": 1,
                "words": 20,
                "cer": None,
                "counted": "words",
                "utterances": 2,
                "skipped": 0,
                "unit": "utterances",
                "num_units": 2,
            }
        },
        "latency_ms": {
            "15": {"median": 40.0, "p90": 56.0},
            "60": {"median": 200.0, "p90": 280.0},
        },
        "speedup_vs_none": {
            "fused": {"15": pytest.approx(5 / 3), "60": pytest.approx(5 / 6)},
            "explicit": {"15": pytest.approx(0.9), "60": pytest.approx(0.9)},
        },
        "wer_vs_none": {},
        "speedup_interval_vs_none": {
            "fused": {"15": pytest.approx([5 / 6, 5 / 3]), "60": pytest.approx([5 / 12, 5 / 6])},
            "explicit": {"15": pytest.approx([0.6, 0.9]), "60": pytest.approx([0.6, 0.9])},
        },
        "rounds": {"15": 3, "60": 3},
        "breakdown_ms": {
            "15": {"subsampling": 10.0, "projections": 20.0, "scores": 5.0, "softmax": 5.0},
            "60": {"subsampling": 40.0, "projections": 60.0, "scores": 50.0, "softmax": 50.0},
        },
        "peers_ms": {
            "nemo": {
                "15": {"median": 50.0, "p90": 82.0},
                "60": {"median": 250.0, "p90": 410.0},
            }
        },
        "peers_memory_mib": {"nemo": {"15": 60.0, "60": 240.0}},
        "speedup_vs_peers": {"nemo": {"15": 1.25, "60": 1.25}},
        "roofline": {
            length: {"gemm_gflop_per_s": 80.0, "bandwidth_gb_per_s": 10.0, "gemm_share": 0.75}
            for length in ("15", "60")
        },
        "work": {
            "15": {"subsampling": {"macs": 200_000_000, "num_bytes": 20_000_000}},
            "60": {
                "subsampling": {"macs": 800_000_000, "num_bytes": 80_000_000},
                "softmax": {"macs": 0, "num_bytes": 100_000_000},
            },
        },
        "ceilings": {
            length: {"gemm_gflop_per_s": 80.0, "bandwidth_gb_per_s": 10.0}
            for length in ("15", "60")
        },
        "larger_batches": [],
        "scaling": [
            {
                "dtype": "float32",
                "num_threads": num_threads,
                "batch_size": batch_size,
                "length_s": 15.0,
                "median_ms": 40.0 * batch_size / num_threads,
                "p90_ms": 40.0 * batch_size / num_threads,
                "audio_s_per_s": 375.0 * num_threads,
                "speedup_vs_none": {"fused": 1.25},
                "peak_memory_mib": None,
            }
            for num_threads in (1, 2)
            for batch_size in (1, 4)
        ],
        "streaming": [],
        "pays_from_s": {"fused": None, "explicit": None},
        "peak_memory_mib": {"15": 30.0, "60": 120.0},
        "training_step_ms": {
            "15": {"median": 4000.0, "p90": 4000.0},
            "30": {"median": 4000.0, "p90": 4000.0},
        },
        "training_step_vs_none": {
            "fused": {"15": 1.25, "30": 1.25},
            "explicit": {"15": 1.5, "30": 1.5},
        },
        "training_step_interval_vs_none": {
            "fused": {"15": [1.25, 1.25], "30": [1.25, 1.25]},
            "explicit": {"15": [1.5, 1.5], "30": [1.5, 1.5]},
        },
        "training_step_memory_mib": {"15": 2048.0, "30": 2048.0},
        "training_step_peers_ms": {
            "nemo": {
                "15": {"median": 8000.0, "p90": 8000.0},
                "30": {"median": 8000.0, "p90": 8000.0},
            }
        },
        "training_step_peers_memory_mib": {"nemo": {"15": 3072.0, "30": 3072.0}},
        "training_step_vs_peers": {"nemo": {"15": 2.0, "30": 2.0}},
        "train_s": 314.0,
        "hardware": "Example CPU, 1 thread of 2 cores, float32",
    }


def test_bare_record_has_every_key() -> None:
    bare = replace(
        RECORD,
        macs={},
        wer={},
        latency=(),
        breakdown={},
        work={},
        ceilings={},
        scaling=(),
        training_step=(),
        training=None,
        data={},
    )
    row = json_row(bare)
    assert row.keys() == json_row(RECORD).keys()
    assert row["speedup_vs_none"] == {"fused": {}, "explicit": {}}
    assert row["training_step_vs_none"] == {"fused": {}, "explicit": {}}
    assert row["latency_ms"] == row["wer"] == row["macs"] == row["peak_memory_mib"] == {}
    assert (
        row["peers_ms"]
        == row["peers_memory_mib"]
        == row["speedup_vs_peers"]
        == row["training_step_peers_ms"]
        == row["training_step_peers_memory_mib"]
        == row["training_step_vs_peers"]
        == row["roofline"]
        == row["work"]
        == row["ceilings"]
        == {}
    )
    assert row["scaling"] == []
    assert row["breakdown_ms"] == row["rounds"] == row["training_step_ms"] == {}
    assert row["train_s"] is None


def test_larger_batches_have_their_own_rows() -> None:
    short, long = RECORD.latency
    row = json_row(replace(RECORD, latency=(short, replace(long, batch_size=64))))
    assert row["latency_ms"].keys() == {"15"}
    assert row["larger_batches"] == [
        {
            "batch_size": 64,
            "length_s": 60.0,
            "median_ms": 200.0,
            "p90_ms": 280.0,
            "audio_s_per_s": 64 * 60 / 0.2,
            "speedup_vs_none": {"fused": 500 / 3 / 200, "explicit": 0.9},
            "peak_memory_mib": 120.0,
            "speedup_vs_peers": {"nemo": 1.25},
        }
    ]


def test_undefined_rate_is_null() -> None:
    wer = {"test": SplitWer.from_errors([WordErrors()])}
    assert json_row(replace(RECORD, wer=wer))["wer"]["test"]["wer"] is None


def test_rows_to_a_file_and_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [none_record(), RECORD]
    write_rows(records, tmp_path / "new" / "rows.json")
    write_rows(records, "-")
    rows = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert [row["run"] for row in rows] == ["none", "probs"]
    assert json.loads(capsys.readouterr().out) == rows


def test_what_is_written_stays_the_same_to_the_byte(tmp_path: Path) -> None:
    write_rows([none_record(), RECORD], tmp_path / "rows.json")
    assert (tmp_path / "rows.json").read_bytes() == WRITTEN.read_bytes()


def test_parts_stand_in_one_order_whatever_ran_first() -> None:
    breakdown = {"15": {"new part": 1.0, "other": 2.0, "mix": 3.0, "scores": 4.0}}
    row = json_row(replace(RECORD, breakdown=breakdown))
    assert list(row["breakdown_ms"]["15"]) == ["scores", "mix", "other", "new part"]


def test_differences_stand_in_the_rows_of_their_schedule(tmp_path: Path) -> None:
    none, probs = seeds(none_record(), 2), seeds(probs_record(), 2)
    difference = WerDifference(
        split="test", run="probs", baseline="none", difference=0.5, low=-1.0, high=2.0, level=0.95,
        num_seeds=2, num_baseline_seeds=2, p=0.2, p_holm=0.4, num_compared=2, num_units=10,
    )  # fmt: skip
    write_rows([*none, *probs], tmp_path / "rows.json", [difference])
    found = [row["wer_vs_none"] for row in json.loads((tmp_path / "rows.json").read_text())]
    assert found[:2] == [{}, {}]
    assert found[2] == found[3]
    assert found[2]["test"]["p_holm"] == 0.4
    assert found[2]["test"]["is_finding"] is False
