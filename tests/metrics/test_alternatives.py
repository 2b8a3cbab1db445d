"""References with alternatives, and phrases that count as equal."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import InputError
from asr.metrics.alternatives import (
    Equivalents,
    best_reading,
    has_alternatives,
    normalized_readings,
)
from asr.metrics.wer import align_chars, align_words
from asr.text.normalize import TranscriptNormalizer

WORDS = st.sampled_from(["A", "B", "C"])
READINGS = st.lists(st.lists(WORDS, max_size=2).map(tuple), min_size=2, max_size=3, unique=True)


def marked(readings: list[tuple[str, ...]]) -> str:
    return "{" + " / ".join(" ".join(one) or "@" for one in readings) + "}"


@given(
    slots=st.lists(st.one_of(WORDS, READINGS), max_size=4),
    hyp=st.lists(WORDS, max_size=5),
)
def test_the_reading_with_the_fewest_errors_is_scored(
    slots: list[str | list[tuple[str, ...]]], hyp: list[str]
) -> None:
    ref = " ".join(slot if isinstance(slot, str) else marked(slot) for slot in slots)
    choices = [[(slot,)] if isinstance(slot, str) else slot for slot in slots]
    every = [[word for part in parts for word in part] for parts in product(*choices)]
    fewest = min(align_words(" ".join(one), " ".join(hyp))[0].errors for one in every)
    errors, steps = align_words(ref, " ".join(hyp))
    assert errors.errors == fewest
    read = [step["ref"] for step in steps if step["ref"] is not None]
    assert read in every
    assert errors.words == len(read)


def test_marks_are_no_events_and_each_reading_is_normalised() -> None:
    normalize = TranscriptNormalizer()
    text = "well {you've / You  have / @}, {breath} done {gonna / going to}"
    spelt = normalized_readings(text, normalize)
    assert spelt == "WELL {YOU'VE / YOU HAVE / @} DONE {GONNA / GOING TO}"
    assert normalized_readings("{a/A} b", normalize) == "A B"
    assert not has_alternatives(normalize(text))
    assert align_words(spelt, "WELL DONE GOING TO")[0].errors == 0
    assert align_words(spelt, "WELL DONE GOING TO")[0].words == 4
    assert align_chars(spelt, "WELL YOU HAVE DONE GONNA")[0].errors == 0


def test_scripts_without_spaces_are_read_by_character() -> None:
    assert align_words("{你好 / 您好}吗", "您好吗")[0].errors == 0
    assert align_words("{你好 / 您好}吗", "您好")[0].errors == 1
    assert best_reading("{你好 / 您好}吗", "您好吗", by_character=True).replace(" ", "") == "您好吗"


GLM = """\
;; a comment
* "a heading"
YOU'VE => {you've / you have}   / [ ] __ [ ] ;; another
[uh] => {uh / um / @}
COLOUR => COLOR
twenty  two => 22
"""


def test_a_file_of_equivalents(tmp_path: Path) -> None:
    path = tmp_path / "en.glm"
    path.write_text(GLM)
    found = Equivalents.read(path, TranscriptNormalizer())
    assert found.in_reference("YOU HAVE A COLOUR") == "{YOU'VE / YOU HAVE} A COLOR"
    assert found.in_reference("UM TWENTY TWO") == "{UH / UM / @} 22"
    assert found.in_hypothesis("YOU HAVE UH COLOUR TWENTY TWO") == "YOU HAVE UH COLOR 22"
    assert found.in_reference("{A / YOU HAVE} UH") == "{A / YOU HAVE} {UH / UM / @}"
    for said in ("YOU'VE", "YOU HAVE"):
        assert align_words(found.in_reference(said), "YOU HAVE")[0].errors == 0
    assert found.name.startswith("equivalents of en.glm (")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("YOU'VE", 'a.glm:1: "YOU\'VE": allowed: A => B'),
        ("A => {B / C", "allowed: A => B, or A => {A / B / @}"),
        (" => B", "allowed: A => B"),
        ("A => B / [B] __ [ ]", "the context '[B] __ [ ]' is not known; allowed: [ ] __ [ ]"),
        (";; nothing", "a.glm: no rule"),
        ("A => {" + " / ".join(f"B{n}" for n in range(101)) + "}", "101 readings"),
    ],
)
def test_a_line_that_is_no_rule(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.glm"
    path.write_text(line + "\n")
    with pytest.raises(InputError) as caught:
        Equivalents.read(path, TranscriptNormalizer())
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.glm"):
        Equivalents.read(tmp_path / "none.glm", str)
    (tmp_path / "a.glm").write_bytes(b"A => \xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        Equivalents.read(tmp_path / "a.glm", str)
