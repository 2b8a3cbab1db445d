from __future__ import annotations

import random
from pathlib import Path

from asr.data.manifest import CheckedUtterance
from asr.data.splits import split_train_dev_test


def corpus(num_utterances: int, num_speakers: int | None) -> list[CheckedUtterance]:
    return [
        CheckedUtterance(
            utterance_id=f"u{index}",
            audio_path=Path("a.wav"),
            start_s=0.0,
            duration_s=2.0,
            sample_rate_hz=16_000,
            num_channels=1,
            text="x",
            speaker=None if num_speakers is None else f"s{index % num_speakers}",
        )
        for index in range(num_utterances)
    ]


def test_no_speaker_is_in_two_splits() -> None:
    splits, how = split_train_dev_test(corpus(400, 40))
    assert "by speaker" in how
    speakers = {name: {row.speaker for row in rows} for name, rows in splits.items()}
    assert not speakers["train"] & speakers["dev"]
    assert not speakers["train"] & speakers["test"]
    assert not speakers["dev"] & speakers["test"]
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 360,
        "dev": 20,
        "test": 20,
    }


def test_few_speakers_are_cut_by_utterance() -> None:
    for rows in (corpus(200, 2), corpus(200, None)):
        splits, how = split_train_dev_test(rows)
        assert "by utterance" in how
        assert {name: len(rows) for name, rows in splits.items()} == {
            "train": 180,
            "dev": 10,
            "test": 10,
        }


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = corpus(300, 30)
    shuffled = random.Random(1).sample(rows, len(rows))
    first, second = split_train_dev_test(rows)[0], split_train_dev_test(shuffled)[0]
    assert {k: {r.utterance_id for r in v} for k, v in first.items()} == {
        k: {r.utterance_id for r in v} for k, v in second.items()
    }


def test_a_single_utterance_is_training_data() -> None:
    assert list(split_train_dev_test(corpus(1, 1))[0]) == ["train"]
