from dataclasses import replace

from asr.report.rows import by_seed
from tests.report.comparisons import seeds
from tests.report.records import none_record, probs_record

NONE, PROBS = none_record(), probs_record()


def test_runs_that_differ_in_seed_only_belong_together() -> None:
    groups = by_seed([*seeds(NONE, 2), *seeds(PROBS, 3)])
    assert [(one.name, len(one.records)) for one in groups] == [("none", 2), ("probs", 3)]


def test_runs_of_one_seed_are_not_seeds_of_each_other() -> None:
    assert len(by_seed([NONE, replace(NONE, run="again")])) == 2


def test_another_setting_is_another_series() -> None:
    wider = replace(NONE, run="wide-seed1", config={**NONE.config, "seed": 1, "wide": True})
    assert [one.name for one in by_seed([NONE, wider])] == ["none", "wide-seed1"]


def test_names_stay_different() -> None:
    other = [replace(record, run=record.run.replace("-", "_")) for record in seeds(PROBS, 2)]
    alike = [replace(record, run=record.run.replace("probs", "none")) for record in other]
    groups = by_seed([*seeds(NONE, 2), *alike])
    assert [one.name for one in groups] == ["none-seed0", "none_seed0"]
