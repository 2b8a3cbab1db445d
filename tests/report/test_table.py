import csv
import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.metrics.wer import WordErrors
from asr.report.comparison import compare
from asr.report.hypotheses import WerDifference
from asr.report.record import SplitCounts, SplitWer
from asr.report.table import (
    Column,
    Table,
    count_text,
    duration_text,
    number_text,
    percent_text,
    short_names,
)
from tests.report.comparisons import seeds
from tests.report.records import HARDWARE, TRAINING, none_record, probs_record

NONE, PROBS = none_record(), probs_record()


def _csv_rows(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def _markdown_cells(table: Table) -> dict[str, list[str]]:
    lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def test_markdown_holds_what_is_compared() -> None:
    cells = _markdown_cells(compare([NONE, PROBS]))
    assert cells == {
        "run": ["none", "probs"],
        "reuse": ["none", "probs"],
        "schedule": ["A x4", "LFFF"],
        "params": ["1.25 M", "1.25 M"],
        "15 s: MACs": ["12.3 G", "12.3 G"],
        "WER % test": ["20.00 [10.00, 30.00]"] * 2,
        "15 s: ms (p90)": ["40.0 (56.0)"] * 2,
        "15 s: vs fused": ["1.67x [0.83, 1.67]"] * 2,
        "15 s: vs explicit": ["0.90x [0.60, 0.90]"] * 2,
        "60 s: ms (p90)": ["200 (280)"] * 2,
        "60 s: vs fused": ["0.83x [0.42, 0.83]"] * 2,
        "60 s: vs explicit": ["0.90x [0.60, 0.90]"] * 2,
        "15 s: step ms (p90)": ["4000 (4000)"] * 2,
        "15 s: step vs fused": ["1.25x"] * 2,
        "15 s: step vs explicit": ["1.50x"] * 2,
        "30 s: step ms (p90)": ["4000 (4000)"] * 2,
        "30 s: step vs fused": ["1.25x"] * 2,
        "30 s: step vs explicit": ["1.50x"] * 2,
        "training": ["5 min 14 s"] * 2,
        "60 s: MiB": ["120", "120"],
        "30 s: step MiB": ["2048", "2048"],
    }


def test_csv_has_full_precision_and_units() -> None:
    none, probs = _csv_rows(compare([NONE, PROBS]))
    assert (none["num_params"], probs["num_params"]) == ("1250000", "1247000")
    assert probs["macs_15s"] == "12345000000"
    assert probs["wer_test_del"] == "1"
    assert float(probs["speedup_15s_vs_none_fused"]) == pytest.approx(5 / 3)
    assert probs["latency_60s_p90_ms"] == "280.0"
    assert probs["peak_memory_15s_mib"] == "30.0"
    assert probs["latency_15s_rounds"] == "3"
    assert probs["time_15s_softmax_ms"] == "5.0"
    assert probs["training_step_30s_median_ms"] == "4000.0"
    assert probs["training_step_speedup_30s_vs_none_explicit"] == "1.5"
    assert probs["training_step_memory_15s_mib"] == "2048.0"
    assert probs["hardware"] == "Example CPU, 1 thread of 2 cores, float32"
    assert "warning" not in probs


def test_terminal_lines_are_aligned_and_fit() -> None:
    text = compare([NONE, PROBS]).text(width=90)
    assert max(len(line) for line in text.splitlines()) <= 90
    blocks = [block.splitlines() for block in text.split("\n\n")]
    tables = [block for block in blocks if len(block) > 1 and set(block[1]) == {"-"}]
    assert len(tables) == 5
    for header, rule, *rows in tables:
        assert len(rule) == len(header)
        assert [row.split()[0] for row in rows] == ["none", "probs"]
        assert {len(row) for row in rows} == {len(header)}
        assert header.startswith("run  ")


def test_wide_terminal_gets_one_block() -> None:
    assert compare([NONE, PROBS]).text(width=500).count("---\n") == 1


def test_notes_say_where_numbers_come_from() -> None:
    notes = compare([NONE, PROBS]).notes
    assert "Hardware: Example CPU, 1 thread of 2 cores, float32" in notes
    assert "Versions: python 3.11.9, torch 2.11.0" in notes
    assert "Commit: 0123456789 with local changes" in notes
    assert "Command (none): `asr train recipe.yaml reuse=none`" in notes
    assert "Command (probs): `asr train recipe.yaml reuse=probs`" in notes
    assert any("with their 95% bootstrap interval over utterances of the test." in n for n in notes)
    assert "probs is not faster than none fused at 60 s, the longest measured." in notes
    assert "Timed rounds: 3 at 15, 60 s." in notes
    assert any("on random batches of 8 x 15 s in float32 (3 rounds), 4 x 30 s" in n for n in notes)
    assert not any(note.startswith("Warning") for note in notes)


def test_notes_count_the_rounds_of_every_length() -> None:
    short, long = NONE.latency
    fewer = replace(NONE, latency=(replace(short, num_rounds=10), long))
    assert "Timed rounds: 10 at 15 s; 3 at 60 s." in compare([fewer]).notes
    unknown = replace(NONE, latency=(replace(short, num_rounds=None),))
    assert not any("rounds: " in note for note in compare([unknown]).notes)


def test_an_encoder_is_not_compared_with_itself() -> None:
    points = tuple(
        replace(
            p, baselines={**p.baselines, "explicit": replace(p.baselines["fused"], speedup=1.0)}
        )
        for p in NONE.latency
    )
    explicit = none_record(run="slow", reuse="none explicit", latency=points)
    notes = [note for note in compare([explicit]).notes if note.startswith("slow is")]
    assert notes == ["slow is not faster than none fused at 60 s, the longest measured."]


def test_notes_say_from_which_length_reuse_pays() -> None:
    short, long = PROBS.latency
    fused = replace(long.baselines["fused"], speedup=1.3)
    faster = replace(PROBS, latency=(short, replace(long, baselines={"fused": fused})))
    notes = compare([NONE, faster]).notes
    assert "probs is faster than none fused from 15 s on, up to 60 s." in notes
    of_seeds = compare([NONE, *seeds(faster, 3)]).notes
    assert [note for note in of_seeds if "fused from 15 s on" in note] == [
        "probs is faster than none fused from 15 s on, up to 60 s."
    ]


def test_differences_are_noted() -> None:
    difference = WerDifference(
        split="test", run="probs", baseline="none", difference=0.5, low=-1, high=2, level=0.95
    )
    notes = compare([NONE, PROBS], differences=[difference]).notes
    assert notes[0].startswith(
        "test: probs minus none +0.50, 95% interval -1.00 to +2.00 WER points"
    )


UNLIKE: list[tuple[dict[str, Any], str]] = [
    (
        {"hardware": replace(HARDWARE, num_threads=2)},
        "unlike hardware: threads 1 in none, 2 in probs",
    ),
    (
        {"hardware": replace(HARDWARE, gpu_model="G")},
        "unlike hardware: GPU none in none, G in probs",
    ),
    ({"hardware": replace(HARDWARE, dtype="bfloat16")}, "unlike hardware: dtype float32 in none"),
    (
        {"hardware": replace(HARDWARE, cuda_graphs=True)},
        "unlike hardware: CUDA graphs no in none, yes in probs",
    ),
    ({"hardware": replace(HARDWARE, cpu_model="Other")}, "unlike hardware: CPU Example CPU"),
    (
        {"data": NONE.data | {"test": SplitCounts(num_utterances=3, hours=0.01, num_words=20)}},
        "unlike splits: test 2 utterances 0.0100 h 20 words in none, 3 utterances",
    ),
    (
        {"data": {"test": NONE.data["test"]}},
        "unlike splits: train 100 utterances 0.2500 h 900 words in none, missing in probs",
    ),
    (
        {"wer": {"test": SplitWer.from_errors([WordErrors(1, 0, 0, 21)])}},
        "unlike splits: test scored 20 words in none, 21 words in probs",
    ),
    (
        {"training": replace(TRAINING, num_steps=900)},
        "unlike training budget: steps 500 in none, 900 in probs",
    ),
    ({"training": replace(TRAINING, num_epochs=9.0)}, "unlike training budget: epochs 8"),
    ({"training": replace(TRAINING, interrupted=True)}, "budget: interrupted False in none, True"),
    ({"training": None}, "unlike training budget: steps 500 in none, missing in probs"),
    (
        {"latency": (replace(PROBS.latency[0], batch_size=8),)},
        "unlike latency: smallest batch size 1 in none, 8 in probs",
    ),
    (
        {"training_step": (replace(PROBS.training_step[0], dtype="bfloat16"),)},
        "unlike training step: 15 s 8 utterances in float32 in none, 8 utterances in bfloat16",
    ),
]


@pytest.mark.parametrize(("changes", "message"), UNLIKE)
def test_unlike_runs_are_refused_or_warned_about(changes: dict[str, Any], message: str) -> None:
    records = [NONE, replace(PROBS, **changes)]
    with pytest.raises(InputError, match="these runs cannot be compared") as caught:
        compare(records)
    assert message in str(caught.value)
    assert "--allow-unlike" in str(caught.value)
    assert "\n" not in str(caught.value)
    table = compare(records, allow_unlike=True)
    assert table.verdict[0].startswith("Warning, unlike")
    assert message in table.verdict[0]
    assert message.split(":")[0] in table.text()
    assert message in _csv_rows(table)[0]["warning"]


def test_every_mismatch_is_named_at_once() -> None:
    other = replace(PROBS, hardware=replace(HARDWARE, num_cores=8), training=None)
    verdict = compare([NONE, other], allow_unlike=True).verdict
    assert [text.split(":")[0] for text in verdict[:2]] == [
        "Warning, unlike hardware",
        "Warning, unlike training budget",
    ]


def test_two_runs_of_one_name_are_still_told_apart() -> None:
    with pytest.raises(InputError, match="threads 1 in none, 2 in none"):
        compare([NONE, replace(NONE, hardware=replace(HARDWARE, num_threads=2))])


def test_training_time_may_differ() -> None:
    assert compare([NONE, replace(PROBS, training=replace(TRAINING, train_s=200.0, cpu_s=1.0))])


def test_training_steps_may_be_timed_at_other_lengths() -> None:
    assert compare([NONE, replace(PROBS, training_step=PROBS.training_step[:1])])
    assert compare([NONE, replace(PROBS, training_step=())])


def test_latency_alone_and_missing_latency() -> None:
    bare: dict[str, Any] = {"wer": {}, "training": None, "data": {}}
    cells = _markdown_cells(compare([none_record(**bare), probs_record(**bare, latency=())]))
    assert cells["15 s: ms (p90)"] == ["40.0 (56.0)", "-"]
    assert cells["15 s: vs fused"] == ["1.67x [0.83, 1.67]", "-"]
    assert cells["60 s: MiB"] == ["120", "-"]
    assert "training" not in cells
    assert not any(name.startswith("WER") for name in cells)


def test_undefined_rate_is_a_dash() -> None:
    empty = replace(NONE, wer={"test": SplitWer.from_errors([WordErrors()])})
    assert _markdown_cells(compare([empty]))["WER % test"] == ["-"]


def test_lengths_are_sorted_as_numbers() -> None:
    point = NONE.latency[0]
    curve = tuple(replace(point, length_s=x) for x in (120.0, 5.0, 30.0))
    names = [
        name
        for name in _markdown_cells(compare([replace(NONE, latency=curve, training_step=())]))
        if "p90" in name
    ]
    assert names == ["5 s: ms (p90)", "30 s: ms (p90)", "120 s: ms (p90)"]


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError, match="no run records"):
        compare([])


def test_bars_and_line_ends_do_not_break_markdown() -> None:
    table = Table(columns=(Column("a|b", ("c\nd|",)),), notes=("two\nlines",))
    assert table.markdown() == "| a\\|b |\n| ---: |\n| c d\\| |\n\n- two lines\n"


def test_csv_quotes() -> None:
    table = Table(columns=(Column("a", ("x",), {"a": ('1,"2"',)}),))
    assert _csv_rows(table) == [{"a": '1,"2"'}]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.9, "1.00 k"),
        (1_249_000, "1.25 M"),
        (999_999, "1.00 M"),
        (30_700_000, "30.7 M"),
        (12_345_000_000, "12.3 G"),
        (123_456_000_000, "123 G"),
        (2.5e12, "2.50 T"),
    ],
)
def test_counts(count: float, text: str) -> None:
    assert count_text(count) == text


@settings(deadline=None)
@given(st.floats(1, 9e14))
def test_counts_keep_three_digits(count: float) -> None:
    number, _, prefix = count_text(count).partition(" ")
    size = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix]
    assert float(number) * size == pytest.approx(count, rel=0.0051)


@pytest.mark.parametrize(
    ("number", "text"),
    [(4.211, "4.21"), (9.996, "10.0"), (87.31, "87.3"), (99.96, "100"), (1532.4, "1532")],
)
def test_numbers(number: float, text: str) -> None:
    assert number_text(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (314.2, "5 min 14 s"),
        (3599.7, "1 h 00 min"),
        (7510.0, "2 h 05 min"),
        (360000.0, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_percent() -> None:
    assert [percent_text(x) for x in (5.526, 100.0, float("nan"))] == ["5.53", "100.00", "-"]


def test_a_row_a_schedule_at_one_length() -> None:
    """The mean of the seeds with the lowest and the highest, beside whether it says anything."""
    better = replace(NONE.wer["test"], wer=10.0)
    records = [*seeds(NONE, 3), *seeds(PROBS, 2), replace(PROBS, run="probs-seed2",
               config={**PROBS.config, "seed": 2}, wer={"test": better})]  # fmt: skip
    difference = WerDifference(
        split="test", run="probs", baseline="none", difference=-3.33, low=-10, high=3, level=0.95,
        num_seeds=3, num_baseline_seeds=3, p=0.4, p_holm=0.4,
    )  # fmt: skip
    table = compare(records, differences=[difference], by_run=False, all_lengths=False)
    cells = _markdown_cells(replace(table, verdict=()))
    assert cells["run"] == ["none", "probs"]
    assert "reuse" not in cells
    assert cells["WER % test"] == ["20.00 (20.00 to 20.00)", "16.67 (10.00 to 20.00)"]
    assert cells["minus none"] == ["-", "-3.33, not significant"]
    assert [header for header in cells if header.startswith(("60 s", "30 s"))] == []
    assert "not differ significantly from none in WER with 3 seeds on test" in table.verdict[-1]


def test_long_names_are_shortened_in_a_terminal_alone_and_stay_different() -> None:
    names = ("none", *(f"conformer-medium-a-long-name-{n}-dropout0.1-seed0" for n in range(3)))
    short = short_names(names)
    assert short[0] == "none"
    assert max(map(len, short)) <= 24
    assert len({*short}) == 4
    table = Table(columns=(Column("run", names), Column("x", ("1",) * 4)))
    assert names[1] in table.markdown()
    assert names[1] not in table.text()
    assert short_names(["a" * 30, "a" * 30])[0] == short_names(["a" * 30])[0]


def test_a_rate_of_characters_is_called_cer() -> None:
    scored = SplitWer.from_errors([WordErrors(1, 0, 0, 20)], counted="characters")
    table = compare([replace(NONE, wer={"test": scored})]).text(width=200)
    assert "CER % test" in table
    assert "WER % test" not in table
    assert "CER (character error rate, of characters)" in table
