from asr.report.html.series import NUM_HUES, grouped
from tests.report.html.pages import many_records, seeds
from tests.report.records import none_record, probs_record


def test_a_series_is_all_seeds_of_a_configuration() -> None:
    groups = grouped([*seeds(none_record(), 2), *seeds(probs_record(), 3)])
    assert [(one.name, len(one.records), one.index) for one in groups] == [
        ("none", 2, 0),
        ("probs", 3, 1),
    ]


def test_twelve_series_look_different() -> None:
    groups = grouped(many_records(12))
    looks = {
        (one.hue, one.marker(0, 0).partition("d=")[2].partition(" transform")[0]) for one in groups
    }
    assert len(looks) == 12
    assert len({one.hue.split()[0] for one in groups}) == NUM_HUES
