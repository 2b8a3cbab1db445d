from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from asr.cli.compare_runs import ComparedRow, paired_differences
from asr.cli.run_folder import RunFolder
from asr.report.hypotheses import score, write_hypotheses
from asr.report.record import RunRecord
from asr.types import UtteranceResult
from tests.report.comparisons import seeds
from tests.report.records import none_record, probs_record

from .runs import Command, Outcome, asr_process, files_in, write_corpus, write_recipe

WORDS = ("compare", "tones.yaml", "reuse=none,probs", "encoder.num_layers=4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    write_recipe(folder / "tones.yaml", write_corpus(folder / "corpus", num_train=8))
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> Outcome:
    """Two runs trained and compared by the command."""
    return asr_process([*WORDS, "--jobs", "1", "--out", "first", "--json", "-"], folder)


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(folder)
    return Command(capsys)


def runs(folder: Path) -> dict[str, Path]:
    """Run folders by their reuse method."""
    return {path.name.partition("-")[0]: path for path in (folder / "runs" / "tones").iterdir()}


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(outcome.out)
    return found


def test_both_are_trained_each_in_a_process(compared: Outcome, folder: Path) -> None:
    assert compared.code == 0, compared.err
    assert re.findall(r"^(\w+): runs\S+, to train$", compared.err, re.MULTILINE) == [
        *("none", "probs")
    ]
    assert runs(folder).keys() == {"none", "probs"}
    for name, path in runs(folder).items():
        assert f"[{name}] step " in compared.err
        assert "step " in (path / "train.log").read_text()
        record = RunRecord.load(path)
        assert record.training is not None
        assert record.training.num_steps == 12
        assert (record.run, record.reuse) == (path.name, name)
        assert record.command.startswith("asr train tones.yaml ")
        assert f"--run-dir {path.relative_to(folder)}" in record.command


def test_a_row_each_with_what_the_design_asks_for(compared: Outcome) -> None:
    none, probs = rows(compared)
    assert (none["run"], none["schedule"]) == ("none", "A x4")
    assert (probs["run"], probs["schedule"]) == ("probs", "LFFF")
    assert probs["num_params"] < none["num_params"]
    assert probs["macs"]["1"] < none["macs"]["1"]
    for row in (none, probs):
        assert row["wer"]["test"]["words"] == 13
        assert row["train_s"] > 0
        for baseline in ("fused", "explicit"):
            assert row["speedup_vs_none"][baseline].keys() == {"0.5", "1"}


def test_the_table_shows_wer_beside_speed_and_the_difference(
    compared: Outcome, folder: Path
) -> None:
    table = (folder / "first" / "table.md").read_text()
    for column in ("WER % test", "1 s: ms (p90)", "1 s: vs fused", "1 s: vs explicit", "training"):
        assert column in table
    assert re.search(r"test: probs minus none [+-]\d+\.\d\d, 95% interval", table)
    assert table.startswith("- Warning")  # two utterances are learnt by nobody
    assert re.search(r"^- probs is .* as fast as none|^- probs does not differ", table, re.M)
    names = re.findall(r"^\| (none|probs) \|", table, re.M)
    assert names[:4] == ["none", "probs", "none", "probs"]  # by schedule, then by run


def test_the_page_shows_a_point_for_each_run_and_the_difference(
    compared: Outcome, folder: Path
) -> None:
    report = (folder / "first" / "report.html").read_text()
    charts = re.findall(r'<figure class="trade-off">.*?</figure>', report, re.DOTALL)
    assert [chart.count('class="point"') for chart in charts] == [2, 2]  # at 0.5 s and 1 s
    assert "test: WER minus that of none" in report


def test_a_second_time_nothing_is_trained(asr: Command, compared: Outcome, folder: Path) -> None:
    weights = {name: files_in(path / "model") for name, path in runs(folder).items()}
    done = asr(*WORDS, "metrics.latency.repeats=1", "--json", "-")
    assert done.code == 0
    assert done.err.count("trained already") == 2
    assert "step " not in done.err
    for before, after in zip(rows(compared), rows(done), strict=True):
        for key in ("run", "schedule", "num_params", "macs", "wer", "train_s"):
            assert before[key] == after[key]
    for name, path in runs(folder).items():
        after_weights = files_in(path / "model")
        assert after_weights["model.safetensors"] == weights[name]["model.safetensors"]


def test_only_what_is_missing_is_trained(asr: Command, compared: Outcome, folder: Path) -> None:
    words = [word.replace("none,probs", "probs") for word in WORDS]
    done = asr(*words, "seed=0,1", "--jobs", "2", "--json", "-")
    assert done.code == 0, done.err
    assert [row["run"] for row in rows(done)] == ["seed0", "seed1"]
    assert done.err.count("trained already") == 1
    assert done.err.count("to train") == 1
    assert len(list((folder / "runs" / "tones").iterdir())) == 3


def test_runs_are_jobs_of_a_cluster_where_one_is_asked_for(asr: Command, folder: Path) -> None:
    words = ["train.trainer.max_steps=2", "metrics.latency.repeats=1", "--launcher", "submitit"]
    done = asr("compare", "--launcher-options", "cluster=local", "hours=1", "tones.yaml", *words)
    assert done.code == 0, done.err
    name = "max_steps2-repeats1"
    found = re.search(rf"^{name}: job \d+, log (runs/\S+/train\.log)$", done.err, re.MULTILINE)
    assert found, done.err
    assert "step 2/2" in (folder / found[1]).read_text()
    assert f"[{name}] step 2/2" in done.err
    assert name in done.out


def test_options_of_a_launcher_need_the_launcher(asr: Command) -> None:
    error = asr("compare", "tones.yaml", "seed=7", "--launcher-options", "partition=gpu").error
    assert "--launcher-options needs --launcher submitit" in error


def test_a_run_that_fails_is_named_with_its_log(asr: Command, folder: Path) -> None:
    done = asr("compare", "tones.yaml", "text.tokenizer.vocab_size=3", "--jobs", "1")
    assert done.code == 2
    assert "text.tokenizer.vocab_size: 3 is too small" in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("asr compare: error: training of vocab_size3 did not finish; see runs/")
    log = folder / last.rpartition("see ")[2]
    assert "too small" in log.read_text()


def test_schedules_are_compared_over_all_their_seeds(tmp_path: Path) -> None:
    """`none` makes no error; `probs` one in two words with seed 0, none with the others."""
    records = [*seeds(none_record(), 2), *seeds(probs_record(), 3)]
    folders = {record.run: RunFolder(tmp_path / record.run) for record in records}
    for record in records:
        hyp = "a" if record.run == "probs-seed0" else "a b"
        result = UtteranceResult(utterance_id="u", hyp=hyp, duration_s=1.0, ref="a b")
        for split in record.wer:
            path = folders[record.run].hypotheses(split)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_hypotheses([score(result)], path)
    rows = [ComparedRow(record.run, None) for record in records]
    found = paired_differences(rows, records, folders)
    assert {(one.run, one.baseline, one.num_seeds) for one in found} == {("probs", "none", 3)}
    assert [one.split for one in found] == list(none_record().wer)
    assert [one.difference for one in found] == pytest.approx([50 / 3])
    assert paired_differences(rows[2:], records[2:], folders) == []


STREAMING = (
    *(
        "compare",
        "streaming.yaml",
        "reuse=none,kv",
        "encoder.num_layers=4",
        "--jobs",
        "1",
        "--json",
        "-",
    ),
    *("metrics.streaming.num_streams=[2]", "metrics.streaming.repeats=2"),
)


def test_live_streams_are_compared(folder: Path, asr: Command) -> None:
    """Error rate, latency, time and memory at each length; rates are computed once."""
    recipe = (folder / "tones.yaml").read_text()
    recipe = recipe.replace("[fbank, normalize]", "[fbank, running_norm]")
    recipe = recipe.replace("[latency]", "[latency, streaming]").replace(
        "name: tones", "name: streams"
    )
    recipe = recipe.replace("mel_bins: 20", "mel_bins: 20\n  normalize:\n    num_mel_bins: 20")
    recipe = recipe.replace("  dropout: 0.0", "  chunk_frames: [4, 8]\n  left_frames: 16")
    (folder / "streaming.yaml").write_text(recipe)
    first = asr(*STREAMING, "--out", "streamed", "--stream", "160", "320")
    assert first.code == 0, first.err
    for row in rows(first):
        assert [(one["chunk_s"], one["num_streams"]) for one in row["streaming"]] == [
            (0.16, 2),
            (0.32, 2),
        ]
        for one in row["streaming"]:
            assert one["latency_s"] == pytest.approx(one["chunk_s"] + 0.015)
            assert one["p99_ms"] >= one["median_ms"] > 0
            assert one["kept_bytes"] > 0
        assert row["streaming_wer"].keys() == {"160", "320"}
        for rates in row["streaming_wer"].values():
            assert rates["test"]["words"] == 13
        (path,) = folder.glob(f"runs/stream*/{row['run']}-*")
        record = RunRecord.load(path)
        assert record.streaming_wer["160"]["test"].wer == row["streaming_wer"]["160"]["test"]["wer"]
    none, kv = rows(first)
    assert kv["streaming"][0]["kept_bytes"] < none["streaming"][0]["kept_bytes"]
    assert first.err.count("scoring test, in chunks of 160 ms") == 2
    header = "| streaming | chunk ms | latency ms | WER % test | streams | ms | 99 % | RTF |"
    assert header in (folder / "streamed" / "table.md").read_text()
    assert "Live streams" in (folder / "streamed" / "report.html").read_text()
    lines = (folder / "streamed" / "streaming.csv").read_text().splitlines()
    assert lines[0].startswith("run,chunk_ms,latency_ms,wer_test_wer,wer_test_low,wer_test_high,")
    assert [line.split(",")[:2] for line in lines[1:]] == [
        *(["none", "160.0"], ["none", "320.0"], ["kv", "160.0"], ["kv", "320.0"])
    ]
    again = asr(*STREAMING, "--stream", "320", "metrics.latency.repeats=1")
    assert "scoring test" not in again.err
    assert [one["chunk_s"] for one in rows(again)[0]["streaming"]] == [0.32]
    of_recipe = asr(*STREAMING, "metrics.streaming.chunk_frames=[2]")
    assert of_recipe.err.count("scoring test, in chunks of 80 ms") == 2
    assert [one["chunk_s"] for one in rows(of_recipe)[0]["streaming"]] == [0.08]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tones.yaml", "--stream", "320"), "recipe: streaming needs a model trained"),
        (("streaming.yaml", "--stream", "90"), "chunks of 90 ms: allowed: multiples of 40 ms"),
        (("streaming.yaml", "--stream", "0"), "argument --stream: '0': allowed: a number above 0"),
    ],
)
def test_streams_that_cannot_be(asr: Command, words: tuple[str, ...], message: str) -> None:
    assert message in asr("compare", *words).error


def test_what_could_not_be_scored_is_said_and_ends_in_exit_code_2(
    asr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_corpus(tmp_path / "corpus", num_train=8)
    write_recipe(tmp_path / "tones.yaml", corpus)
    (tmp_path / "corpus" / "audio" / "test-0.wav").unlink()
    monkeypatch.chdir(tmp_path)
    words = ["compare", "tones.yaml", "reuse=none", "train.trainer.max_steps=2"]

    first = asr(*words, "--json", "-")
    again = asr(*words, "--out", "report")

    (run,) = runs(tmp_path).values()
    resumed = asr("train", "--resume", str(run))
    for done in (first, again, resumed):
        assert done.code == 2, done.err
        assert re.search(r"^\S+: test: 1 of \d+ utterances", done.err, re.MULTILINE), done.err
    assert again.err.count("trained already") == 1
    (row,) = rows(first)
    assert row["wer"]["test"] is not None
    assert "1 of" in (tmp_path / "report" / "table.md").read_text()
