import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import InputError
from asr.metrics.wer import WordErrors, corpus_wer
from asr.report.hypotheses import pair, read_hypotheses, score, write_hypotheses
from asr.types import UtteranceResult

texts = st.text(max_size=20)


def _result(name: str, ref: str | None, hyp: str) -> UtteranceResult:
    return UtteranceResult(
        utterance_id=name,
        hyp=hyp,
        duration_s=1.5,
        ref=ref,
        audio_path=f"{name}.flac",
        speaker="anna",
    )


def test_a_line_is_the_documented_one(tmp_path: Path) -> None:
    path = tmp_path / "run" / "test.jsonl"
    write_hypotheses([score(_result("u1", "ein Bär", "ein"))], path)
    assert "Bär" in path.read_text(encoding="utf-8")
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {
            "utterance_id": "u1",
            "audio_path": "u1.flac",
            "duration_s": 1.5,
            "ref": "ein Bär",
            "hyp": "ein",
            "sub": 0,
            "del": 1,
            "ins": 0,
            "words": 2,
            "alignment": [
                {"op": "equal", "ref": "ein", "hyp": "ein"},
                {"op": "del", "ref": "Bär", "hyp": None},
            ],
            "speaker": "anna",
            "confidences": [],
        }
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("hyp") / "test.jsonl"
    results = [_result(f"u{i}", ref, hyp) for i, (ref, hyp) in enumerate(pairs)]
    scored = [score(result) for result in results]
    write_hypotheses(scored, path)
    assert read_hypotheses(path) == scored
    assert WordErrors.total(one.errors for one in scored) == corpus_wer(results)


def test_missing_reference_is_named() -> None:
    with pytest.raises(InputError, match="'u1' has no reference"):
        score(_result("u1", None, "a"))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.jsonl: no hypotheses can be read: No such file"):
        read_hypotheses(tmp_path / "x.jsonl")


def test_binary_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"x\.jsonl: not a file of hypotheses"):
        read_hypotheses(tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not a hypothesis, damaged JSON"),
        ("[]", r"line 2: the content is \[\]; a mapping is expected"),
        ('{"utterance_id": 3}', "line 2: key 'utterance_id' is 3; a text is expected"),
        ('{"utterance_id": "u"}', "line 2: key 'audio_path' is missing"),
    ],
)
def test_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    write_hypotheses([score(_result("u1", "a", "a"))], path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=message):
        read_hypotheses(path)


def test_pairs_are_put_in_one_order() -> None:
    a = [score(_result("u1", "a b", "a")), score(_result("u2", "c", "c"))]
    b = [score(_result("u2", "c", "x")), score(_result("u1", "a b", "a b"))]
    assert pair(a, b) == (
        [WordErrors(del_=1, words=2), WordErrors(words=1)],
        [WordErrors(words=2), WordErrors(sub=1, words=1)],
    )


def test_unlike_utterances_cannot_be_paired() -> None:
    a = [score(_result("u1", "a b", "a"))]
    with pytest.raises(InputError, match="'u2' is in one only or has another reference"):
        pair(a, [*a, score(_result("u2", "c", "c"))])
    with pytest.raises(InputError, match="'u1' is in one only or has another reference"):
        pair(a, [replace(a[0], ref="a c")])
