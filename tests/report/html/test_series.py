from dataclasses import replace

from asr.report.html.series import NUM_HUES, grouped
from tests.report.html.pages import many_records, seeds
from tests.report.records import none_record, probs_record

NONE, PROBS = none_record(), probs_record()


def test_runs_that_differ_in_seed_only_belong_together() -> None:
    groups = grouped([*seeds(NONE, 2), *seeds(PROBS, 3)])
    assert [(one.name, len(one.records)) for one in groups] == [("none", 2), ("probs", 3)]


def test_runs_of_one_seed_are_not_seeds_of_each_other() -> None:
    assert len(grouped([NONE, replace(NONE, run="again")])) == 2


def test_another_setting_is_another_series() -> None:
    wider = replace(NONE, run="wide-seed1", config={**NONE.config, "seed": 1, "wide": True})
    assert [one.name for one in grouped([NONE, wider])] == ["none", "wide-seed1"]


def test_names_stay_different() -> None:
    other = [replace(record, run=record.run.replace("-", "_")) for record in seeds(PROBS, 2)]
    alike = [replace(record, run=record.run.replace("probs", "none")) for record in other]
    groups = grouped([*seeds(NONE, 2), *alike])
    assert [one.name for one in groups] == ["none-seed0", "none_seed0"]


def test_twelve_series_look_different() -> None:
    groups = grouped(many_records(12))
    looks = {
        (one.hue, one.marker(0, 0).partition("d=")[2].partition(" transform")[0]) for one in groups
    }
    assert len(looks) == 12
    assert len({one.hue.split()[0] for one in groups}) == NUM_HUES
