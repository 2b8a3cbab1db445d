from __future__ import annotations

import pytest

from asr.data.columns import FileSegment, find_columns
from asr.errors import InputError


@pytest.mark.parametrize(
    ("heading", "values"),
    [
        (("offset", "duration"), (1.5, 2.0)),
        (("start", "end"), (1.5, 3.5)),
        (("begin", "end"), ("1.5", "3.5")),
        (("start_time", "end_time"), ("1.5", "3.5")),
        (("start_s", "duration_s"), ("1.5", " 2 ")),
        (("start_ms", "end_ms"), (1500, 3500)),
        (("startTime", "endTime"), (1.5, 3.5)),
        (("Begin Time (s)", "End Time (s)"), (1.5, 3.5)),
        (("begin_sec", "dur"), (1.5, 2)),
        (("segment_start", "segment_end"), (1.5, 3.5)),
        (("onset", "offset"), (1.5, 3.5)),
        (("tmin", "tmax"), (1.5, 3.5)),
        (("from", "to"), (1.5, 3.5)),
        (("start", "length"), (1.5, 2)),
        (("start", "end", "duration"), (1.5, 3.5, 2.0)),
        (("start_seconds", "stop_milliseconds"), (1.5, 3500)),
    ],
)
def test_a_stretch_by_every_usual_pair_of_names(
    heading: tuple[str, ...], values: tuple[object, ...]
) -> None:
    columns = find_columns(("audio", "text", *heading))
    assert not columns.unused
    segment = columns.segment(dict(zip(heading, values, strict=True)))
    assert (segment.start_s, segment.duration_s) == (1.5, 2.0)


@pytest.mark.parametrize(
    ("heading", "message"),
    [
        (("start",), "column start is where an utterance starts, but no column says where it ends"),
        (("offset",), "column offset is where an utterance starts"),
        (("end_time",), "column end_time is where an utterance ends, but no column says where it"),
        (("end", "duration"), "column end is where an utterance ends"),
        (("start_sample", "end_sample"), "column start_sample: times are read in seconds"),
        (("start_frame", "end"), "column start_frame: times are read in seconds"),
    ],
)
def test_half_a_stretch_is_an_error(heading: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_columns(("audio", "text", *heading))


def test_names_that_mean_other_things_alone_are_not_used() -> None:
    for name in ("from", "to", "length"):
        assert find_columns(("path", "sentence", name, "note")).unused == (name, "note")
    assert find_columns(("audio", "text", "text_length", "end_of_turn")).unused == (
        "text_length",
        "end_of_turn",
    )


def test_a_length_alone_is_that_of_the_file() -> None:
    columns = find_columns(("audio", "text", "duration"))
    assert columns.segment({"duration": 2.5}) == FileSegment(whole_s=2.5)


def test_the_first_of_several_names_is_preferred() -> None:
    columns = find_columns(("path", "audio", "sentence"))
    assert columns.names == {"audio": "audio", "text": "sentence"}
    assert columns.unused == ("path",)


def test_empty_times_are_a_whole_file() -> None:
    columns = find_columns(("audio", "text", "start", "end"))
    assert columns.segment({"start": "", "end": " "}).is_whole


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": "1"}, "start alone; a stretch needs a start and an end"),
        ({"start": "1", "end": "soon"}, "end is 'soon'; a number is expected"),
        ({"start": float("nan"), "end": 2}, "start is nan; a number is expected"),
        ({"start": 10**400, "end": 2}, "start is 1000"),
        ({"start": "1_0", "end": 2}, "start is '1_0'"),
        ({"start": True, "end": 2}, "start is True"),
        ({"start": [1], "end": 2}, "start is a list"),
        ({"start": 1, "end": 2, "duration": 3}, "start, end and duration contradict one another"),
    ],
)
def test_times_without_sense_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_columns(("audio", "text", "start", "end", "duration")).segment(values)
