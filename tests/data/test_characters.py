from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.check import check_characters, describe_dropped, find_unknown_characters
from asr.data.manifest import read_manifest
from asr.errors import InputError
from asr.text.tokenizer import Tokenizer


def test_known_characters_pass(make_manifest: Callable[..., Path], tokenizer: Tokenizer) -> None:
    utterances = read_manifest(make_manifest([0.5] * 5, audio=False))
    check_characters(utterances, tokenizer=tokenizer, normalizer=str)
    assert find_unknown_characters(utterances, tokenizer=tokenizer, normalizer=str) == {}


def test_unknown_characters_are_named(
    make_manifest: Callable[..., Path], tokenizer: Tokenizer
) -> None:
    utterances = read_manifest(make_manifest([0.5] * 3, audio=False))

    def normalize(text: str) -> str:
        return text.replace("CHARLIE", "ÇXARLIE")

    found = find_unknown_characters(utterances, tokenizer=tokenizer, normalizer=normalize)
    assert found == {"u0002": "XÇ"}
    with pytest.raises(InputError, match="u0002 has characters 'XÇ'") as error:
        check_characters(utterances, tokenizer=tokenizer, normalizer=normalize)
    assert repr(tokenizer.characters) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_dropped_from_transcripts_is_counted() -> None:
    texts = ["go\u200b on\u00ad", "[noise] go", "<unk> [noise]", "plain"]
    assert list(describe_dropped(texts, "dev", events="dropped")) == [
        "dev: 2 invisible characters dropped in 1 transcripts",
        "dev: 3 marks of events dropped: [noise] 2, <unk> 1",
    ]
    assert not list(describe_dropped(["it's plain"], "dev", events="dropped"))
