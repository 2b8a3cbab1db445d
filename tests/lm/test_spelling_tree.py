from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asr.lm.spelling_tree import SpellingTree, characters_of, repeated

SPELLINGS = st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=12)


def tree_of(spellings: list[str], boosts: list[float] | None = None) -> SpellingTree:
    codes_C, lengths_P = characters_of(spellings)
    steps = [np.arange(1, length + 1) for length in lengths_P]
    boosts = boosts or [1.0] * len(spellings)
    gains_C = np.concatenate([boost * one for boost, one in zip(boosts, steps, strict=True)])
    return SpellingTree.of(codes_C - ord("a"), lengths_P, gains_C, alphabet=3)


def names(tree: SpellingTree) -> list[str]:
    """What is spelt on the way to each node."""
    found = [""]
    for parent, character in zip(tree.parents_S[1:], tree.characters_S[1:], strict=True):
        found.append(found[parent] + chr(ord("a") + character))
    return found


@given(SPELLINGS)
def test_a_node_for_every_beginning(spellings: list[str]) -> None:
    tree = tree_of(spellings)
    found = names(tree)
    beginnings = {one[:length] for one in spellings for length in range(len(one) + 1)}
    assert len(found) == len(tree) == tree.levels[-1]
    assert set(found) == beginnings
    assert sorted(found, key=len) == found
    assert [found[end] for end in tree.ends_P] == spellings
    assert (np.diff(tree.keys_S) > 0).all()


@given(SPELLINGS)
def test_children(spellings: list[str]) -> None:
    tree = tree_of(spellings)
    found = names(tree)
    for character in range(3):
        children = tree.children(np.arange(len(tree)), np.full(len(tree), character))
        wanted = [one + "abc"[character] for one in found]
        assert [found[one] for one in children] == [one if one in found else "" for one in wanted]


@given(SPELLINGS)
def test_a_node_fails_to_its_longest_suffix(spellings: list[str]) -> None:
    tree = tree_of(spellings)
    found = names(tree)
    for one, back in zip(found, tree.fails(), strict=True):
        suffixes = [one[first:] for first in range(1, len(one) + 1)]
        assert found[back] == next((suffix for suffix in suffixes if suffix in found), "")


def test_a_shared_node_has_the_greatest_gain() -> None:
    tree = tree_of(["ab", "abc", "b"], [1.0, 3.0, 0.5])
    gains = dict(zip(names(tree), tree.gains_S.tolist(), strict=True))
    assert gains == {"": 0.0, "a": 3.0, "ab": 6.0, "abc": 9.0, "b": 0.5}


def test_repeated() -> None:
    of, number = repeated(np.array([2, 0, 3]))
    assert of.tolist() == [0, 0, 2, 2, 2]
    assert number.tolist() == [0, 1, 0, 1, 2]


def test_no_spellings() -> None:
    none = np.zeros(0, dtype=np.int64)
    tree = SpellingTree.of(none, none, np.zeros(0), alphabet=3)
    assert len(tree) == 1
    assert tree.fails().tolist() == [0]
    assert tree.children(np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)).tolist() == [0]


def test_code_points() -> None:
    codes, lengths = characters_of(["a\u2581", "\U00020000"])
    assert codes.tolist() == [ord("a"), 0x2581, 0x20000]
    assert lengths.tolist() == [2, 1]
    assert not len(characters_of([])[0])
