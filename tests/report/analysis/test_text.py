from __future__ import annotations

from dataclasses import replace

from asr.report.analysis.result import Analysis
from asr.report.analysis.text import headline, layer_table, suggestion_lines


def cells(analysis: Analysis) -> dict[str, tuple[str, ...]]:
    return {column.header: column.texts for column in layer_table(analysis).columns}


def test_one_row_a_layer(analysis: Analysis) -> None:
    found = cells(analysis)
    assert found["layer"] == ("0", "1", "2", "3")
    assert found["role"] == ("lead", "follow", "lead", "follow")
    total_variation = analysis.similarity.total_variation
    assert found["TV below"] == ("-", "1.00", f"{total_variation[2][1]:.2f}", "1.00")
    assert found["JS below"][1] == found["best below"][1] == "1.00"
    heads = analysis.diagonality.area[2]
    assert found["CAD"][2] == f"{sum(heads) / len(heads):.2f}"
    assert analysis.probe is not None
    assert found["probe %"] == tuple(f"{value:.1f}" for value in analysis.probe.accuracy)


def test_what_was_not_measured_has_no_column(analysis: Analysis) -> None:
    found = cells(replace(analysis, probe=None, relationship=None))
    assert not found.keys() & {"probe %", "same", "other"}


def test_a_layer_without_a_map_has_dashes(analysis: Analysis) -> None:
    similarity = replace(
        analysis.similarity,
        total_variation=[row[:3] for row in analysis.similarity.total_variation[:3]],
    )
    without = replace(
        analysis,
        map_layers=[0, 1, 3],
        similarity=similarity,
        suggested=None,
        relationship=None,
    )
    found = cells(without)
    assert found["CAD"][2] == found["TV below"][2] == "-"
    assert found["TV below"][3] == f"{similarity.total_variation[2][1]:.2f}"
    assert suggestion_lines(without) == []


def test_the_headline_counts(analysis: Analysis) -> None:
    assert headline(analysis) == (
        "tiny: 4 layers of 2 heads, reuse probs (LF x2), 7 utterances of test"
    )
    counted = replace(analysis.counted, num_aligned=5, num_skipped=1, num_left_out=3)
    assert headline(replace(analysis, counted=counted)).endswith(
        "7 utterances of test, 2 not aligned, 1 unreadable, 3 too long"
    )


def test_groups_are_as_a_recipe_takes_them(analysis: Analysis) -> None:
    lines = "\n".join(suggestion_lines(analysis))
    assert "  [2,2] risk 0.00\n" in lines
    assert "[1,1,1,1]" not in lines.partition("least risk")[2]


def test_a_trial_is_said_beside_similarity(analysis: Analysis, tried: Analysis) -> None:
    assert "try schedules with --try" in suggestion_lines(analysis)[-1]
    assert tried.tried is not None
    assert tried.suggested is not None
    lines = suggestion_lines(tried)
    text = "\n".join(lines)
    assert f"adds to {tried.tried.full_loss:.3f}, on 7 utterances, by reuse probs" in text
    best, similar = tried.tried.best[0], tried.suggested.proposed
    assert similar.groups == [4]  # the threshold is 0
    assert best.added_loss is not None
    added = f"[4] risk {best.risk:.2f}, adds {best.added_loss:.2f} to the loss"
    assert f"  {added}" in lines
    assert (
        f"proposed by similarity: [4] risk {similar.risk:.2f}, adds {best.added_loss:.2f}" in text
    )
    assert f"proposed by trial, at no more maps than that by similarity: {added}" in lines
    within = replace(tried.suggested, budget_ms=9.0, length_s=3.0)
    lines = suggestion_lines(replace(tried, suggested=within))
    assert f"proposed by trial, within 9 ms: {added}" in lines
