from __future__ import annotations

from asr.cli.override import short_value, variant_names


def test_a_variant_is_named_by_what_differs() -> None:
    same, other = ["reuse=none", "seed=0"], ["reuse=probs", "seed=0"]
    assert variant_names([same, other]) == ["none", "probs"]
    assert variant_names([same, ["reuse=none", "seed=1"]]) == ["seed0", "seed1"]


def test_two_settings_that_differ_are_both_named() -> None:
    variants = [[f"encoder.dropout={a}", f"seed={b}"] for a in (0.1, 0.2) for b in (0, 1)]
    assert variant_names(variants) == [
        "dropout0.1-seed0",
        "dropout0.1-seed1",
        "dropout0.2-seed0",
        "dropout0.2-seed1",
    ]


def test_a_single_variant_is_named_by_all_its_values() -> None:
    assert variant_names([["reuse=probs", "reuse.group_size=2"]]) == ["probs-group_size2"]
    assert variant_names([[]]) == ["recipe"]
    assert variant_names([]) == []


def test_short_values() -> None:
    assert short_value("reuse.groups=[4,4]") == "groups4-4"
    assert short_value("reuse.pattern=LFFF") == "patternLFFF"
    assert short_value("seed=3") == "seed3"
    parts = (
        "{layers:1,method:{_target_:asr.reuse.none.NoReuse}},{method:{_target_:a.b.Local,width:9}}"
    )
    assert short_value(f"reuse.parts=[{parts}]") == (
        "partslayers-1-method-NoReuse-method-Local-width-9"
    )
    assert len(short_value(f"reuse.parts=[{parts},{parts}]")) <= 65


def test_no_two_variants_share_a_name() -> None:
    """Runs are kept by name: an equal name would lose one without a word."""
    groups = [["reuse.groups=[1,12]"], ["reuse.groups=[11,2]"]]
    assert variant_names(groups) == ["groups1-12", "groups11-2"]
    assert variant_names([["init=a/b"], ["init=a-b"]]) == ["a-b-1", "a-b-2"]
    assert variant_names([["reuse=none"], ["reuse=none"]]) == ["recipe-1", "recipe-2"]


def test_a_file_goes_by_its_stem() -> None:
    assert short_value("reuse=runs/a/analysis/reuse/suggested.yaml") == "suggested"
