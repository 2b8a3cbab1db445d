from __future__ import annotations

from asr.cli.parser import did_you_mean, nearest


def test_the_likest_first_and_nothing_that_is_far() -> None:
    assert nearest("trian", ["train", "bench", "transcribe"]) == ["train"]
    assert nearest("zzz", ["train", "bench"]) == []
    assert nearest("conformer", ["conformer_m", "conformer_s", "probs"]) == [
        "conformer_m",
        "conformer_s",
    ]


def test_a_suggestion_is_part_of_a_sentence() -> None:
    assert did_you_mean("trian", ["train", "bench"]) == "; did you mean train?"
    assert did_you_mean("zzz", ["train", "bench"]) == ""
