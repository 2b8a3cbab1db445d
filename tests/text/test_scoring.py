from __future__ import annotations

from importlib.util import find_spec

import pytest

from asr.errors import InputError
from asr.text.normalize import TranscriptNormalizer
from asr.text.scoring import SCORINGS, scoring

MODEL = TranscriptNormalizer(case="upper")
TEXT = "Mr. Smith [laughs]  paid twenty-two dollars!"


def test_each_choice_spells_both_sides() -> None:
    spelt = {
        name: (found.reference(TEXT), found.hypothesis("Mr. SMITH"))
        for name in ("model", "none", "basic")
        for found in [scoring(name, MODEL)]
    }
    assert spelt == {
        "model": ("MR SMITH PAID TWENTY TWO DOLLARS", "Mr. SMITH"),
        "none": ("Mr. Smith [laughs] paid twenty-two dollars!", "Mr. SMITH"),
        "basic": ("mr smith paid twenty two dollars", "mr smith"),
    }


def test_names_tell_the_version() -> None:
    assert scoring("basic", MODEL).name.startswith("basic 1 (")
    names = {scoring(name, MODEL).name for name in SCORINGS if name != "whisper"}
    assert len(names) == 3


@pytest.mark.skipif(find_spec("whisper_normalizer") is None, reason="needs whisper_normalizer")
def test_whispers_rules_unite_numbers_and_titles() -> None:
    found = scoring("whisper", MODEL)
    assert found.reference(TEXT) == found.hypothesis("mister smith paid $22")
    assert "whisper_normalizer 0." in found.name


def test_a_choice_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="allowed: model, none, basic, whisper"):
        scoring("openai", MODEL)
    monkeypatch.setattr("asr.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'encore-asr\[scoring\]'"):
        scoring("whisper", MODEL)
