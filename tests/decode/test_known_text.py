"""Texts aligned with emissions whose words and times are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.decode import known_text
from asr.decode.emissions import EmissionReader, TokenEmissions
from asr.decode.known_text import TextAlignment, align_text, token_columns, words_of_text
from asr.errors import InputError
from asr.text.tokenizer import Tokenizer

SHIFT_S = 0.04
WORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)] * 3, kind="char", vocab_size=40)


def spoken(
    said: Sequence[str], tokenizer: Tokenizer, *, noise: float = 0.0, seed: int = 0
) -> tuple[Tensor, list[int]]:
    """Log probabilities (T, V) of words with pauses between, and the first frame of each."""
    numbers = np.random.default_rng(seed)
    path: list[int] = []
    starts = []
    for word in said:
        path += [0] * int(numbers.integers(2, 8))
        starts.append(len(path))
        for token in tokenizer.encode(word):
            path += [token, *[0] * int(numbers.integers(1, 3))]
    path += [0, 0]
    logits_TV = torch.full((len(path), tokenizer.vocab_size), -8.0)
    logits_TV[torch.arange(len(path)), torch.tensor(path)] = 2.0
    logits_TV += noise * torch.from_numpy(numbers.normal(size=logits_TV.shape)).float()
    return logits_TV.log_softmax(-1), starts


def aligned(text: str, log_probs_TV: Tensor, tokenizer: Tokenizer) -> TextAlignment:
    words = words_of_text(text, tokenizer, str.upper)
    columns = token_columns(words)
    (emissions,) = EmissionReader(columns).label(
        log_probs_TV.unsqueeze(0), torch.tensor([len(log_probs_TV)])
    )
    return align_text(
        words,
        emissions,
        columns,
        tokenizer,
        frame_shift_s=SHIFT_S,
        duration_s=len(log_probs_TV) * SHIFT_S,
    )


@pytest.fixture(params=[20_000_000, 40_000], ids=["whole", "in parts"])
def _cells(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_text, "_MOST_CELLS", request.param)


@pytest.mark.usefixtures("_cells")
@pytest.mark.parametrize("noise", [0.0, 2.2])
def test_every_word_is_found_where_it_is_said(tokenizer: Tokenizer, noise: float) -> None:
    said = [str(word) for word in np.random.default_rng(1).choice(WORDS, 60)]
    log_probs_TV, starts = spoken(said, tokenizer, noise=noise)
    found = aligned(" ".join(said).lower(), log_probs_TV, tokenizer)
    assert [one.word for one in found.words] == [word.lower() for word in said]
    assert found.not_in_text == ()
    times_s = [one.start_s for one in found.words]
    assert None not in times_s
    near = [
        abs(time_s - start * SHIFT_S) < 0.1
        for time_s, start in zip(times_s, starts, strict=True)
        if time_s is not None
    ]
    assert sum(near) >= (60 if noise == 0 else 57)
    for one, following in zip(found.words, found.words[1:], strict=False):
        assert one.start_s is not None
        assert one.end_s is not None
        assert following.start_s is not None
        assert one.start_s < one.end_s <= following.start_s
        assert 0 < one.score <= 1


@pytest.mark.usefixtures("_cells")
def test_what_was_not_said_and_what_is_not_in_the_text_are_told(tokenizer: Tokenizer) -> None:
    said = [str(word) for word in np.random.default_rng(2).choice(WORDS, 40)]
    stray = ["TEN", "TEN", "NINE", "TEN", "NINE"]
    log_probs_TV, starts = spoken([*said[:20], *stray, *said[20:]], tokenizer)
    missing = ["SIX", "SIX", "EIGHT", "SIX"]
    text = [*said[:10], *missing, *said[10:]]
    found = aligned(" ".join(text), log_probs_TV, tokenizer)
    assert [one.start_s is None for one in found.words] == [
        10 <= place < 14 for place in range(len(text))
    ]
    assert [one.word for one in found.not_in_text] == stray
    expected_s = [start * SHIFT_S for start in [*starts[:20], *starts[25:]]]
    times_s = [one.start_s for one in found.words if one.start_s is not None]
    assert times_s == pytest.approx(expected_s, abs=0.1)


def test_one_word_that_was_read_wrongly_keeps_its_time(tokenizer: Tokenizer) -> None:
    said = WORDS[:8]
    log_probs_TV, starts = spoken([*said[:4], "TEN", *said[5:]], tokenizer)
    found = aligned(" ".join(said), log_probs_TV, tokenizer)
    assert found.words[4].score < 0.01
    assert found.words[4].start_s == pytest.approx(starts[4] * SHIFT_S, abs=0.3)
    assert min(one.score for one in found.words if one.word != "FIVE") > 0.5


def test_words_keep_their_spelling_and_marks_alone_are_no_words(tokenizer: Tokenizer) -> None:
    def normalize(text: str) -> str:
        return " ".join(text.upper().replace("-", " ").replace(",", "").replace(".", "").split())

    words = words_of_text("One, two-three - four.", tokenizer, normalize)
    assert [one.written for one in words] == ["One,", "two-three", "four."]
    assert [one.spelt for one in words] == ["ONE", "TWOTHREE", "FOUR"]


def test_scripts_without_spaces_are_aligned_by_their_tokens() -> None:
    tokenizer = Tokenizer.train(["你好吗我很好谢"] * 3, kind="char", vocab_size=12)
    text = "你好我很好"
    log_probs_TV, starts = spoken(list(text), tokenizer)
    found = aligned(text, log_probs_TV, tokenizer)
    assert [one.word for one in found.words] == list(text)
    assert all(one.start_s is not None for one in found.words)
    assert len(starts) == len(found.words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text has no word to align"),
        ("ONE zz", "the text has characters 'Z', which this model does not write"),
        ("SEVEN " * 500, r"the text does not fit the audio: 3,000 tokens for \d+ frames"),
    ],
)
def test_texts_that_cannot_be_aligned(tokenizer: Tokenizer, text: str, said: str) -> None:
    log_probs_TV, _ = spoken(["TEN"], tokenizer)
    with pytest.raises(InputError, match=said):
        aligned(text, log_probs_TV, tokenizer)


def test_emissions_are_cut_and_joined_as_labels_are(tokenizer: Tokenizer) -> None:
    reader = EmissionReader([2, 5])
    log_probs_TV, _ = spoken(["ONE", "TWO"], tokenizer)
    (whole,) = reader.label(log_probs_TV.unsqueeze(0), torch.tensor([len(log_probs_TV)]))
    parts: TokenEmissions = whole[:5].joined([whole[5:], reader.blanks(3)])
    assert len(parts) == len(whole) + 3
    assert torch.equal(parts.kept_TC[: len(whole)], whole.kept_TC)
    assert reader.collapse(parts).token_ids == reader.collapse(whole).token_ids
    assert parts.kept_TC[-1].argmax() == 0
