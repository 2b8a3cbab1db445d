from __future__ import annotations

import json

from asr.decode.greedy import TimedWord
from asr.decode.transcript import Transcript
from asr.serve.responses import as_verbose_json, error

WORDS = (TimedWord("one", 0.0, 0.4), TimedWord("two", 0.5, 0.9), TimedWord("three", 3.0, 3.4, 0.5))


def test_segments_are_cut_at_pauses() -> None:
    found = as_verbose_json(Transcript("a", 4.0, "one two three", WORDS), "en", True)
    assert [(one["id"], one["start"], one["end"], one["text"]) for one in found["segments"]] == [
        *((0, 0.0, 0.9, "one two"), (1, 3.0, 3.4, "three"))
    ]
    assert [one["avg_logprob"] for one in found["segments"]] == [0.0, -0.6931]
    assert found["words"][2] == {"word": "three", "start": 3.0, "end": 3.4}
    assert json.loads(json.dumps(found)) == found


def test_nothing_said_is_an_answer_too() -> None:
    found = as_verbose_json(Transcript("a", 4.0, "", ()), "", False)
    assert (found["text"], found["segments"], found["duration"]) == ("", [], 4.0)


def test_an_error_has_the_shape_of_openai() -> None:
    assert error("no", param="file")["error"] == {
        "message": "no", "type": "invalid_request_error", "param": "file", "code": None,
    }  # fmt: skip
