from __future__ import annotations

import random
import re
from collections import Counter

from asr.data.synthetic.grammar import SENTENCES, SLOTS, make_phrase, make_sentence, vocabulary

# Pairs that sound the same in one of the accents; not both may be words of the grammar.
HOMOPHONES = (
    "to two too", "for four", "by buy bye", "one won", "eight ate", "red read", "week weak",
    "meet meat", "write right", "know no", "blue blew", "our hour", "sea see", "weather whether",
    "son sun", "there their", "new knew", "would wood", "flower flour", "plane plain", "hear here",
    "night knight", "be bee", "in inn", "not knot", "some sum", "male mail", "pair pear",
)  # fmt: skip


def test_some_280_words_of_plain_letters() -> None:
    words = vocabulary()
    assert 270 <= len(words) <= 290
    assert all(re.fullmatch(r"[a-z]+|o'clock", word) for word in words)


def test_no_two_words_sound_the_same() -> None:
    words = set(vocabulary())
    for group in HOMOPHONES:
        assert len(words & set(group.split())) <= 1, group


def test_every_word_is_common_enough_to_be_learned() -> None:
    rng = random.Random(0)
    counts = Counter(
        word
        for index in range(3600)
        for word in (make_phrase if index % 4 == 0 else make_sentence)(rng).split()
    )
    assert min(counts[word] for word in vocabulary()) >= 12


def test_sentences_are_many_and_bounded() -> None:
    rng = random.Random(0)
    sentences = [make_sentence(rng) for _ in range(2000)]
    assert len(set(sentences)) > 1800
    assert {len(sentence.split()) for sentence in sentences} <= set(range(5, 13))
    assert {len(make_phrase(rng).split()) for _ in range(2000)} <= set(range(1, 6))
    assert not any("{" in sentence for sentence in sentences)


def test_every_slot_is_used() -> None:
    used = {name for _, text in SENTENCES for name in re.findall(r"\{(\w+)\}", text)}
    used |= {
        name for row in SLOTS.values() for text in row for name in re.findall(r"\{(\w+)\}", text)
    }
    assert used == set(SLOTS)
