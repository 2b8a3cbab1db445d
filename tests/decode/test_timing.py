from __future__ import annotations

import json

from asr.decode.timing import DecodingTime

TIMING = DecodingTime(
    audio_s=3600.0,
    wall_s=9.0,
    load_s=0.25,
    num_threads=2,
    work_s={"encoder": 12.0, "decode": 3.0, "features": 1.0},
)


def test_one_line_for_people() -> None:
    assert str(TIMING) == (
        "3600.0 s of audio in 9.00 s on 2 threads (real-time factor 0.0025), the model loaded in "
        "0.25 s; of the work decode 19 %, vad 0 %, features 6 %, encoder 75 %, search 0 %"
    )


def test_one_object_for_programs() -> None:
    found = json.loads(TIMING.as_json())
    assert found["real_time_factor"] == 0.0025
    shares = {"decode": 0.1875, "vad": 0, "features": 0.0625, "encoder": 0.75, "search": 0}
    assert found["shares"] == shares


def test_nothing_read_is_no_division() -> None:
    nothing = DecodingTime(audio_s=0.0, wall_s=0.1, load_s=0.1, num_threads=1, work_s={})
    assert "real-time factor nan" in str(nothing)
    assert json.loads(nothing.as_json())["real_time_factor"] is None
