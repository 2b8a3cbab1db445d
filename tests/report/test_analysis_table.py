from __future__ import annotations

from dataclasses import replace

from asr.report.analysis import Analysis
from asr.report.analysis_table import headline, layer_table, proposal, suggestion_lines


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
    assert "\n  [2,2] risk 0.00" in lines
    assert "[1,1,1,1]" not in lines.partition("least risk")[2]


def test_a_trial_is_said_beside_similarity(tried: Analysis) -> None:
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
    assert f"proposed by trial, at no more maps than [4]: {added}" in lines
    within = replace(tried.suggested, budget_ms=9.0, length_s=3.0)
    lines = suggestion_lines(replace(tried, suggested=within))
    assert f"proposed by trial, within 9 ms: {added}" in lines


def test_the_verdict_says_what_is_shared_and_why(analysis: Analysis, tried: Analysis) -> None:
    assert analysis.suggested is not None
    pairs = replace(analysis.suggested, proposed=replace(analysis.suggested.greedy, groups=[2, 2]))
    said = proposal(replace(analysis, suggested=pairs))
    assert said.startswith(
        "Proposal: groups [2,2]: layer 1 uses the attention of 0, layer 3 uses the attention of 2. "
        f"Why: the maps in each group have a mean JS similarity above {pairs.threshold:g}"
    )
    assert "--try probs measures the loss" in said
    assert tried.tried is not None
    best = tried.tried.proposed
    said = proposal(tried)
    assert said.startswith("Proposal: groups [4]: layers 1 to 3 use the attention of 0, by reuse ")
    assert f"adds {best.added_loss:.2f} to {tried.tried.full_loss:.2f} nats" in said


def test_sharing_nothing_is_said_in_words(analysis: Analysis, tried: Analysis) -> None:
    assert analysis.suggested is not None
    alone = replace(analysis.suggested.greedy, groups=[1, 1, 1, 1])
    nothing = replace(analysis.suggested, proposed=alone, threshold=0.99)
    said = proposal(replace(analysis, suggested=nothing))
    assert said.startswith(
        "Proposal: share nothing. Why: no neighbouring layers have a JS similarity above 0.99 (lay"
    )
    assert "[1,1,1,1]" not in said
    assert "--try probs" in said
    assert tried.tried is not None
    limit = replace(tried.tried.limit, groups=[2, 2], added_loss=9.0)
    proposed = replace(tried.tried.proposed, groups=[1, 3], added_loss=0.5)
    trial = replace(tried.tried, limit=limit, proposed=proposed)
    said = proposal(replace(tried, suggested=nothing, tried=trial))
    assert "groups [1,3]: layers 2 to 3 use the attention of 1" in said
    assert "as cheap as groups of two, since by similarity alone (above 0.99) nothing" in said
    assert "adds 0.50 to " in said
    assert "[2,2] adds 9.00" in said
    assert proposal(replace(analysis, suggested=None)) == ""
