"""Utterances joined for training: each once, within the bounds, audio and text in one order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data.batching import Batching
from asr.data.dataset import SpeechDataset
from asr.data.joining import join_texts, join_utterances
from asr.data.manifest import Utterance, Utterances, read_manifest
from asr.errors import InputError
from asr.text.tokenizer import Tokenizer


def utterance(number: int, duration_s: float) -> Utterance:
    return Utterance(f"u{number}", 0.0, duration_s, f"text {number}", f"s{number % 2}", "a.wav")


def parts_of(items: Utterances) -> list[Utterance]:
    return list(chain.from_iterable(item.parts or (item,) for item in items))


@settings(max_examples=60, deadline=None)
@given(
    durations_s=st.lists(st.floats(0.1, 12.0), max_size=40),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    max_s=st.floats(0.5, 30.0),
    pause_s=st.floats(0.0, 3.0),
    most_s=st.floats(5.0, 40.0),
    seed=st.integers(0, 99),
)
def test_each_is_there_once_and_none_is_too_long(
    durations_s: list[float], share: float, max_s: float, pause_s: float, most_s: float, seed: int
) -> None:
    single = [utterance(number, duration_s) for number, duration_s in enumerate(durations_s)]
    joined = join_utterances(
        single,
        share=share,
        max_s=max_s,
        pause_s=pause_s,
        fits=lambda duration_s: duration_s <= most_s,
        generator=random.Random(seed),
    )
    assert sorted(parts_of(joined)) == sorted(single)
    for one in joined:
        if one.parts:
            assert share > 0
            assert one.duration_s <= min(max_s, most_s)
            spoken_s = sum(part.duration_s for part in one.parts)
            assert -1e-6 <= one.pause_s <= pause_s + 1e-6
            assert one.duration_s == pytest.approx(spoken_s + one.pause_s * (len(one.parts) - 1))
            assert one.text == " ".join(part.text for part in one.parts)
            speakers = {part.speaker for part in one.parts}
            assert one.speaker == (speakers.pop() if len(speakers) == 1 else None)


def test_texts_of_scripts_without_spaces_have_none() -> None:
    assert join_texts(["one two", "", "three"]) == "one two three"
    assert join_texts(["\u4f60\u597d", "\u518d\u89c1"]) == "\u4f60\u597d\u518d\u89c1"
    assert join_texts([]) == ""


def ids(batches: Sequence[Utterances]) -> list[list[str]]:
    return [[item.utterance_id for item in batch] for batch in batches]


def test_batches_hold_joined_utterances_within_their_bound() -> None:
    rng = random.Random(0)
    single = [utterance(number, rng.uniform(0.5, 4.0)) for number in range(300)]
    batching = Batching(
        max_duration_s=40.0, join_share=0.7, join_max_s=15.0, sort_first_epoch=True, num_buckets=8
    )
    selected = batching.select(single)
    first, second, third = (batching.train_batches(selected, epoch) for epoch in range(3))
    assert all(not item.parts for batch in first for item in batch), "from short to long"
    for batches in (second, third):
        assert sorted(parts_of([item for batch in batches for item in batch])) == sorted(single)
        costs_s = [len(batch) * max(item.duration_s for item in batch) for batch in batches]
        assert max(costs_s) <= 40.0
        longest_s = max(item.duration_s for batch in batches for item in batch)
        assert 10.0 < longest_s <= 15.0
    assert ids(second) != ids(third)
    assert ids(second) == ids(batching.train_batches(selected, 1))
    largest = batching.largest_batches(selected)
    assert max(item.duration_s for batch in largest for item in batch) > 10.0


def test_joined_audio_is_read_in_order_with_pauses(
    make_manifest: Callable[..., Path], tokenizer: Tokenizer
) -> None:
    single = read_manifest(make_manifest([0.5, 0.25, 1.0]))
    dataset = SpeechDataset(tokenizer=tokenizer, normalizer=str.upper, sample_rate_hz=16_000)
    (joined,) = join_utterances(
        single, share=1.0, max_s=1e9, pause_s=0.5, fits=lambda _: True, generator=random.Random(1)
    )
    alone = {part.utterance_id: dataset[[part]] for part in single}
    batch = dataset[[joined, single[1]]]
    assert batch is not None
    order = [alone[part.utterance_id] for part in joined.parts]
    pause = np.zeros(round(joined.pause_s * 16_000), dtype=np.float32)
    assert len(pause) > 0
    pieces: list[np.ndarray] = []
    texts: list[str] = []
    for one in order:
        assert one is not None
        pieces += [pause, one.waveforms_BN[0].numpy()]
        texts += one.texts
    expected = torch.from_numpy(np.concatenate(pieces[1:]))
    assert torch.equal(batch.waveforms_BN[0, : len(expected)], expected)
    assert int(batch.waveform_lengths_B[0]) == len(expected)
    assert batch.texts == (" ".join(texts), "ALPHA BRAVO")
    length = int(batch.token_lengths_B[0])
    assert tokenizer.decode(batch.token_ids_BU[0, :length].tolist()) == batch.texts[0]


def test_a_part_that_cannot_be_read_is_left_out(
    make_manifest: Callable[..., Path], tokenizer: Tokenizer
) -> None:
    single = read_manifest(make_manifest([0.5, 0.25, 1.0]))
    dataset = SpeechDataset(tokenizer=tokenizer, normalizer=str.upper, sample_rate_hz=16_000)
    (joined,) = join_utterances(
        single, share=1.0, max_s=1e9, pause_s=0.0, fits=lambda _: True, generator=random.Random(1)
    )
    single[1].audio_path.unlink()
    batch = dataset[[joined]]
    assert batch is not None
    assert int(batch.waveform_lengths_B[0]) == 24_000
    assert dataset.skipped.keys() == {single[1].utterance_id}
    for one in (single[0], single[2]):
        one.audio_path.unlink()
    assert dataset[[joined]] is None
    assert len(dataset.skipped) == 3


@pytest.mark.parametrize(
    ("key", "value"), [("join_share", 1.5), ("join_max_s", 0.0), ("join_pause_s", -1.0)]
)
def test_bad_values_are_named(key: str, value: float) -> None:
    bad: dict[str, float] = {key: value}
    with pytest.raises(InputError, match=f"data.batching.{key}="):
        Batching(max_duration_s=10.0, **bad)  # type: ignore[arg-type]
