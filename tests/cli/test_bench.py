from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from .runs import Command, write_recipe

KEYS = {
    *("wer_vs_none", "speedup_interval_vs_none", "training_step_interval_vs_none"),
    "run", "reuse", "schedule", "num_params", "macs", "wer", "latency_ms", "speedup_vs_none",
    "pays_from_s", "peak_memory_mib", "train_s", "hardware", "rounds", "breakdown_ms",
    "training_step_ms", "training_step_vs_none", "training_step_memory_mib",
    "training_step_peers_ms", "training_step_vs_peers", "training_step_peers_memory_mib",
    "peers_ms", "speedup_vs_peers", "peers_memory_mib", "roofline", "work", "ceilings", "scaling",
    "streaming", "larger_batches",
}  # fmt: skip


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe without a corpus: nothing is read."""
    return write_recipe(tmp_path / "tones.yaml", tmp_path / "nowhere")


def test_every_variant_is_a_row_of_the_design(asr: Command, recipe: Path) -> None:
    done = asr("bench", recipe, "reuse=none,probs", "reuse.group_size=2", "--json", "-")
    assert done.code == 2  # `none` has no group size
    done = asr("bench", recipe, "reuse=none,probs", "encoder.num_layers=4", "--json", "-")
    assert done.code == 0
    none, probs = json.loads(done.out)
    assert none.keys() == probs.keys() == KEYS
    assert (none["run"], none["reuse"], none["schedule"]) == ("none", "none", "A x4")
    assert (probs["run"], probs["reuse"], probs["schedule"]) == ("probs", "probs", "LFFF")
    for row in (none, probs):
        assert row["macs"].keys() == row["latency_ms"].keys() == {"0.5", "1"}
        assert row["latency_ms"]["1"]["p90"] >= row["latency_ms"]["1"]["median"] > 0
        assert row["speedup_vs_none"].keys() == {"fused", "explicit"}
        assert row["speedup_vs_none"]["explicit"].keys() == {"0.5", "1"}
        assert row["rounds"] == {"0.5": 2, "1": 2}
        assert row["breakdown_ms"].keys() == {"0.5", "1"}
        assert row["training_step_ms"] == row["wer"] == {}
        assert row["train_s"] is None
    assert none["speedup_vs_none"]["fused"] == {"0.5": 1.0, "1": 1.0}
    assert probs["num_params"] < none["num_params"]
    assert probs["macs"]["1"] < none["macs"]["1"]
    assert "probs" in done.err  # the table, for people
    assert "probs, 0.5 s" in done.err  # and the one by part


def test_encoders_are_timed_in_the_dtype_asked_for(asr: Command, recipe: Path) -> None:
    done = asr("bench", recipe, "reuse=none", "metrics.latency.dtype=bfloat16", "--json", "-")
    assert done.code == 0
    (row,) = json.loads(done.out)
    assert row["hardware"].endswith("bfloat16")
    assert "bfloat16" in done.err


def test_in_8_bits_what_is_not_timed_is_refused(asr: Command, recipe: Path) -> None:
    words = (
        "bench",
        recipe,
        "encoder.num_layers=4",
        "reuse=none,probs",
        "metrics.latency.dtype=int8",
    )
    recipe.write_text(recipe.read_text().replace("[latency]", "[latency, roofline]"))
    assert "neither ceilings nor encoders of other libraries" in asr(*words).error
    done = asr(*words, "metrics=[latency]", "--json", "-")
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    exact = json.loads(asr(*words[:-1], "metrics=[latency]", "--json", "-").out)
    for row, original in zip(rows, exact, strict=True):
        assert row["hardware"].endswith("int8")
        for key in ("num_params", "macs", "schedule"):
            assert row[key] == original[key]
        assert row["breakdown_ms"]["0.5"].keys() >= {"projections", "feed-forward"}


def test_the_table_and_its_files(asr: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = asr("bench", recipe, "encoder.num_layers=2,4", "--out", out, "--json", tmp_path / "j")
    assert done.code == 0
    assert "num_layers2" in done.out
    assert "num_layers4" in done.out
    assert {path.name for path in out.iterdir()} == {
        *("report.html", "table.md", "table.csv", "rows.json")
    }
    rows = json.loads((out / "rows.json").read_text())
    assert rows == json.loads((tmp_path / "j").read_text())
    with (out / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["run"] for row in table] == [row["run"] for row in rows]
    assert [int(row["num_params"]) for row in table] == [row["num_params"] for row in rows]
    markdown = (out / "table.md").read_text()
    assert "asr bench" in markdown
    assert "| time by part | ms | subsampling |" in markdown
    report = (out / "report.html").read_text()
    assert "Latency over length" in report
    assert "WER against latency" not in report


def test_training_steps_are_timed_where_the_recipe_picks_them(asr: Command, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("[latency]", "[latency, training_step]"))
    small = ["metrics.training_step.lengths_s=[1]", "metrics.training_step.batch_s=2.5"]
    words = [*small, "metrics.training_step.repeats=2", "reuse=none,none_explicit"]
    done = asr("bench", recipe, *words, "--against", "torchaudio", "--json", "-")
    assert done.code == 0
    steps = "timing training steps of 2 encoders and 1 of other libraries at 2 x 1 s, float32"
    assert steps in done.err
    fused, explicit = json.loads(done.out)
    assert (fused["run"], explicit["run"]) == ("none", "none_explicit")
    assert (fused["reuse"], explicit["reuse"]) == ("none", "none explicit")
    assert "softmax" in explicit["breakdown_ms"]["1"]
    assert "softmax" not in fused["breakdown_ms"]["1"]
    assert fused["training_step_vs_none"]["fused"] == {"1": 1.0}
    assert explicit["training_step_vs_none"]["explicit"] == {"1": 1.0}
    assert fused["training_step_ms"]["1"]["median"] > 0
    assert fused["training_step_memory_mib"].keys() == {"1"}
    (speedup,) = fused["training_step_vs_peers"]["torchaudio"].values()
    assert speedup > 0
    assert fused["training_step_peers_ms"]["torchaudio"]["1"]["median"] > 0
    assert "step of 2 x 1 s" in done.err
    done = asr("bench", recipe, "metrics.training_step.batch_s=10")
    assert "metrics.training_step.batch_s is 10; at least the longest" in done.error


def test_ceilings_and_a_library_are_timed_beside_the_variants(
    asr: Command, recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(recipe.read_text().replace("[latency]", "[latency, roofline]"))
    words = ["encoder.positions=rotary,relative", "metrics.latency.lengths_s=[1]"]
    small = ["metrics.roofline.gemm_sizes=[64]", "metrics.roofline.triad_mib=3"]
    small += ["metrics.roofline.probe_ms=1"]
    against = ["--against", "torchaudio"]
    done = asr("bench", recipe, *words, *small, *against, "--out", tmp_path / "o", "--json", "-")
    assert done.code == 0
    assert "timing 4 encoders and 1 of other libraries at 1 s, batch 1" in done.err
    assert "torchaudio 2." in done.err  # the version that was timed
    assert "--against torchaudio" in done.err
    rows = json.loads(done.out)
    for row in rows:
        (speedup,) = row["speedup_vs_peers"]["torchaudio"].values()
        assert speedup > 0
        assert row["peers_ms"]["torchaudio"]["1"]["median"] > 0
        assert row["roofline"]["1"].keys() == {
            *("gemm_gflop_per_s", "bandwidth_gb_per_s", "gemm_share")
        }
        assert 0 < row["roofline"]["1"]["gemm_share"] < 1
        assert row["ceilings"].keys() == {"1"}
        assert row["work"]["1"].keys() == row["breakdown_ms"]["1"].keys()
    rotary, relative = (sum(part["macs"] for part in row["work"]["1"].values()) for row in rows)
    assert rotary == rows[0]["macs"]["1"]
    assert relative < rows[1]["macs"]["1"], "projected distances are kept from the call before"
    markdown = (tmp_path / "o" / "table.md").read_text()
    assert "| against | ms | MiB | torchaudio |" in markdown
    assert "| roofline | GFLOP/s | GB/s | whole | subsampling |" in markdown
    page = (tmp_path / "o" / "report.html").read_text()
    assert "Speed-up over torchaudio" in page
    assert "Roofline" in page


def test_threads_batches_and_dtypes_are_a_grid(asr: Command, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("[latency]", "[latency, scaling]"))
    few = ["metrics.scaling.num_threads=[1]", "metrics.scaling.batch_sizes=[1,2]"]
    words = ["metrics.scaling.dtypes=[float32,bfloat16]", "metrics.scaling.repeats=1"]
    short = ["metrics.scaling.length_s=0.5", "metrics.latency.lengths_s=[0.5]"]
    done = asr("bench", recipe, *few, *words, *short, "--json", "-")
    assert done.code == 0
    (row,) = json.loads(done.out)
    assert [(one["dtype"], one["batch_size"]) for one in row["scaling"]] == [
        *(("float32", 1), ("float32", 2), ("bfloat16", 1), ("bfloat16", 2))
    ]
    assert "timing 2 encoders at 2 x 0.5 s, 1 CPU threads, bfloat16" in done.err


def test_streams_are_timed_in_chunks(asr: Command, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("[latency]", "[latency, streaming]"))
    few = ["metrics.streaming.chunk_frames=[2,4]", "metrics.streaming.num_streams=[2]"]
    short = ["metrics.streaming.repeats=2", "metrics.latency.lengths_s=[0.5]"]
    done = asr("bench", recipe, *few, *short, "--json", "-")
    assert done.code == 0
    (row,) = json.loads(done.out)
    assert [(one["chunk_s"], one["num_streams"]) for one in row["streaming"]] == [
        (0.08, 2),
        (0.16, 2),
    ]
    assert "KiB kept" in done.err


def test_variants_are_not_timed_unlike(asr: Command, recipe: Path) -> None:
    done = asr("bench", recipe, "metrics.latency.dtype=float32,bfloat16")
    assert done.code == 2
    assert "metrics.latency differs between variants" in done.error


def test_a_library_that_is_not_there_is_named(asr: Command, recipe: Path) -> None:
    done = asr("bench", recipe, "--against", "nemo", "reuse=none")
    assert done.code == 2
    assert (
        "--against nemo needs nemo_toolkit, which is not installed; pip install 'nemo_toolkit[asr]'"
        in done.error
    )
    assert done.error.strip().endswith("pip install 'nemo_toolkit[asr]'")


def test_nothing_is_trained_or_written(asr: Command, recipe: Path) -> None:
    before = set(recipe.parent.rglob("*"))
    assert asr("bench", recipe).code == 0
    assert set(recipe.parent.rglob("*")) == before
