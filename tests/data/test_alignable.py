from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.data.check import count_unalignable
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.text.tokenizer import Tokenizer

TEXTS = ("AB", "AA", "AAB B", "B")


@pytest.fixture
def count(tmp_path: Path) -> Callable[[str, int], int]:
    """0 or 1 for an utterance of so many frames, of a tenth of a second each."""

    def count(text: str, num_frames: int) -> int:
        duration_s = num_frames / 10
        one = CheckedUtterance(
            "a", tmp_path / "a.wav", 0.0, duration_s, 1000, 1, text.lower(), None
        )
        write_manifest([one], tmp_path / "a.jsonl.gz")
        return count_unalignable(
            read_manifest(tmp_path / "a.jsonl.gz"),
            tokenizer=Tokenizer.train(TEXTS, kind="char", vocab_size=10),
            normalizer=str.upper,
            num_frames=lambda seconds: round(seconds * 10),
        )

    return count


@pytest.mark.parametrize(
    ("text", "num_needed"),
    [
        ("AB", 3),  # the mark of a word, A and B
        ("AA", 4),  # and a blank between two equal tokens
        ("A A", 4),  # other tokens lie between
        ("AAAA", 8),
    ],
)
def test_a_frame_for_each_token_and_one_between_equals(
    count: Callable[[str, int], int], text: str, num_needed: int
) -> None:
    assert count(text, num_needed) == 0
    assert count(text, num_needed - 1) == 1


@given(
    token_ids=st.lists(st.integers(1, 3), min_size=1, max_size=6),
    num_frames=st.integers(1, 10),
)
def test_the_loss_agrees(token_ids: list[int], num_frames: int) -> None:
    """PyTorch's loss is infinite just where the count says that no path exists."""
    needed = len(token_ids) + sum(
        token_ids[index] == token_ids[index + 1] for index in range(len(token_ids) - 1)
    )
    loss = torch.nn.functional.ctc_loss(
        torch.zeros(num_frames, 1, 4).log_softmax(-1),
        torch.tensor([token_ids]),
        torch.tensor([num_frames]),
        torch.tensor([len(token_ids)]),
        reduction="none",
    )
    assert bool(loss.isinf()) == (num_frames < needed)


def test_it_counts_utterances(tmp_path: Path) -> None:
    utterances = [
        CheckedUtterance(f"u{index}", tmp_path / "a.wav", 0.0, 0.1 * index, 1000, 1, "AB", None)
        for index in range(1, 7)
    ]
    write_manifest(utterances, tmp_path / "a.jsonl.gz")
    assert (
        count_unalignable(
            read_manifest(tmp_path / "a.jsonl.gz"),
            tokenizer=Tokenizer.train(TEXTS, kind="char", vocab_size=10),
            normalizer=str,
            num_frames=lambda seconds: round(seconds * 10),
        )
        == 2
    )  # those of one and two frames
