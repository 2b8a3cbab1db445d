"""Forced alignment of a known text with audio of any length: the time of every word.

First the audio is recognised as by `asr transcribe`, and the CTC log probabilities of the text's
tokens are kept. A long text is cut inside runs of words that were recognised as written. The best
path is found for each part (`asr.decode.align`), so memory and time grow linearly with the length.
Words count as not spoken if the audio has too few frames for them, or if they are very improbable
at their place.

Shape legend: B batch, T frames, C tokens of the text and the blank, in column 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from asr.decode.align import NO_LABEL, align
from asr.decode.emissions import IMPOSSIBLE, TokenEmissions
from asr.decode.greedy import SOUND_S, GreedyDecoder, TimedWord, timed_words
from asr.errors import InputError
from asr.metrics.wer import align_words
from asr.text.script import is_unspaced
from asr.text.tokenizer import WORD_START, Tokenizer

ANCHOR_WORDS = 4
"""Length of a run of correctly recognised words within which the text may be cut."""
STRAY_WORDS = 3
"""Fewest consecutive words to count as missing in the audio, or as missing in the text."""
UNSAID_SCORE = 0.01
"""Consecutive words with scores below this were not spoken."""
_MOST_CELLS = 20_000_000  # frames times states of a part


@dataclass(frozen=True, slots=True)
class TextWord:
    """A word of a text: as written, as spelt for comparison with recognised words, its tokens."""

    written: str
    spelt: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AlignedTextWord:
    """A word of the text; times in seconds, None if it was not spoken.

    ``score`` is the geometric mean of the probabilities of its frames, from 0 to 1.
    """

    word: str
    start_s: float | None
    end_s: float | None
    score: float


@dataclass(frozen=True, slots=True)
class TextAlignment:
    """The words of a text in order, and the recognised words that are not in the text."""

    words: tuple[AlignedTextWord, ...]
    not_in_text: tuple[TimedWord, ...]


def words_of_text(
    text: str, tokenizer: Tokenizer, normalize: Callable[[str], str]
) -> list[TextWord]:
    """Split ``text`` into words; in a script without spaces, into tokens.

    Raises:
        InputError: there is no word, or the model cannot write one.
    """
    whole = normalize(text)
    if unknown := tokenizer.unknown_characters(whole):
        raise InputError(
            f"the text has characters {unknown!r}, which this model does not write; leave them out"
        )
    words = []
    if is_unspaced(whole):
        for token, piece in zip(ids := tokenizer.encode(whole), tokenizer.pieces(ids), strict=True):
            if spelt := piece.removeprefix(WORD_START):
                words.append(TextWord(spelt, spelt, (token,)))
    else:
        for written in text.split():
            if spelt := normalize(written):
                words.append(
                    TextWord(written, "".join(spelt.split()), tuple(tokenizer.encode(spelt)))
                )
    if not words:
        raise InputError("the text has no word to align")
    return words


def token_columns(words: Sequence[TextWord]) -> list[int]:
    """Return the distinct tokens of a text, in the order of `EmissionReader`'s columns."""
    return sorted({token for word in words for token in word.token_ids})


def align_text(
    words: Sequence[TextWord],
    emissions: TokenEmissions,
    columns: Sequence[int],
    tokenizer: Tokenizer,
    *,
    frame_shift_s: float,
    duration_s: float,
) -> TextAlignment:
    """Find the times of ``words``; ``columns`` are `token_columns`.

    Raises:
        InputError: the text has more tokens than the audio has frames.
    """
    best = GreedyDecoder().collapse(emissions.path)
    read = timed_words(
        tokenizer.surfaces(best.token_ids),
        best.token_frames,
        best.token_ends,
        frame_shift_s,
        duration_s,
    )
    spans = [(round(one.start_s / frame_shift_s), round(one.end_s / frame_shift_s)) for one in read]
    match = _match(words, read, spans, len(emissions))
    column = {token: 1 + place for place, token in enumerate(columns)}
    kept_TC = emissions.kept_TC.clone()
    for first, end_word in match.stray_read:  # the text has no word there
        frames = slice(spans[first][0], spans[end_word - 1][1])
        kept_TC[frames] = IMPOSSIBLE
        kept_TC[frames, 0] = 0.0
    found = [AlignedTextWord(one.written, None, None, 0.0) for one in words]
    for part in _parts(words, match, spans, len(emissions)):
        spoken = [at for at in range(part.first, part.end) if at not in match.unsaid]
        path = _path(
            [[column[token] for token in words[at].token_ids] for at in spoken],
            kept_TC[part.first_frame : part.end_frame],
        )
        for at, (start, end, score) in zip(spoken, path, strict=False):
            found[at] = AlignedTextWord(
                words[at].written,
                round((part.first_frame + start) * frame_shift_s, 3),
                round(min((part.first_frame + end) * frame_shift_s + SOUND_S, duration_s), 3),
                round(score, 4),
            )
    if all(one.start_s is None for one in found):
        num_tokens = sum(len(one.token_ids) for one in words)
        raise InputError(
            f"the text does not fit the audio: {num_tokens:,} tokens for {len(emissions):,} frames"
        )
    found = _without_unsaid(found)
    return TextAlignment(tuple(_without_overlaps(found)), _extra_words(read, match, found))


@dataclass(frozen=True, slots=True)
class _Match:
    """Comparison of the text with the recognised words.

    Attributes:
        pairs: pairs of equal words (text, recognised) in order.
        unsaid: words of the text that cannot have been spoken.
        stray_read: ranges of recognised words that are not in the text.
    """

    pairs: list[tuple[int, int]]
    unsaid: frozenset[int]
    stray_read: list[tuple[int, int]]


def _match(
    words: Sequence[TextWord],
    read: Sequence[TimedWord],
    spans: Sequence[tuple[int, int]],
    num_frames: int,
) -> _Match:
    """Compare the text with the words recognised in the frames ``spans``."""
    ours = [(part, at) for at, one in enumerate(words) for part in _parts_of(one.spelt)]
    theirs = [(part, at) for at, one in enumerate(read) for part in _parts_of(one.word)]
    _, steps = align_words(" ".join(part for part, _ in ours), " ".join(part for part, _ in theirs))
    pairs: list[tuple[int, int]] = []
    unsaid: set[int] = set()
    stray: list[tuple[int, int]] = []
    at = other = 0
    for is_equal, group in groupby(steps, key=lambda step: step["op"] == "equal"):
        ops = [step["op"] for step in group]
        end, other_end = at + len(ops) - ops.count("ins"), other + len(ops) - ops.count("del")
        if is_equal:
            pairs += [(ours[at + i][1], theirs[other + i][1]) for i in range(len(ops))]
        elif at == end and other_end - other >= STRAY_WORDS:
            stray.append((theirs[other][1], theirs[other_end - 1][1] + 1))
        elif end - at >= STRAY_WORDS:
            missing = range(ours[at][1], ours[end - 1][1] + 1)
            first = spans[theirs[other - 1][1]][1] if other else 0
            next_frame = spans[theirs[other_end][1]][0] if other_end < len(theirs) else num_frames
            if next_frame - first < sum(len(words[one].token_ids) for one in missing):
                unsaid.update(missing)
        at, other = end, other_end
    return _Match(pairs, frozenset(unsaid), stray)


def _parts_of(spelt: str) -> Sequence[str]:
    """Return the units to compare: the word, or its characters in a script without spaces."""
    return list(spelt) if is_unspaced(spelt) else [spelt]


@dataclass(frozen=True, slots=True)
class _Part:
    """A range of words and the range of frames to align them with."""

    first: int
    end: int
    first_frame: int
    end_frame: int


def _parts(
    words: Sequence[TextWord],
    match: _Match,
    spans: Sequence[tuple[int, int]],
    num_frames: int,
) -> list[_Part]:
    """Cut text and audio within runs of equal words into parts of at most `_MOST_CELLS`.

    If runs of `ANCHOR_WORDS` are too rare, runs of 2 are used; parts that stay too large are left
    out.
    """
    parts: list[_Part] = []
    for num_words in (ANCHOR_WORDS, 2):
        cuts = [*_anchors(match.pairs, spans, num_words), (len(words), num_frames)]
        parts, fits = _between(words, cuts)
        if fits:
            break
    return parts


def _anchors(
    pairs: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], num_words: int
) -> list[tuple[int, int]]:
    """Return words, with their frames, before which the text may be cut: all but a run's first."""
    anchors: list[tuple[int, int]] = []
    run: list[tuple[int, int]] = []
    for pair in [*pairs, (-1, -1)]:
        if run and pair == (run[-1][0] + 1, run[-1][1] + 1):
            run.append(pair)
            continue
        if len(run) >= num_words:
            anchors += [(at, spans[other][0]) for at, other in run[1:]]
        run = [pair]
    return anchors


def _between(
    words: Sequence[TextWord], cuts: Sequence[tuple[int, int]]
) -> tuple[list[_Part], bool]:
    """Return the longest parts of allowed size between ``cuts``, and whether they cover all."""
    parts: list[_Part] = []
    fits_all = True
    first = first_frame = at = 0
    while at < len(cuts):
        num_states, reached = 1, at
        for place in range(at, len(cuts)):
            before = cuts[place - 1][0] if place > at else first
            num_states += sum(2 * len(one.token_ids) for one in words[before : cuts[place][0]])
            if num_states * (cuts[place][1] - first_frame) > _MOST_CELLS:
                break
            reached = place + 1
        fits = reached > at
        fits_all &= fits
        end, end_frame = cuts[reached - 1 if fits else at]
        if fits:
            parts.append(_Part(first, end, first_frame, end_frame))
        first, first_frame, at = end, end_frame, max(reached, at + 1)
    return parts, fits_all


def _path(words: Sequence[Sequence[int]], kept_TC: Tensor) -> list[tuple[int, int, float]]:
    """Align words; return first frame, end frame and score of each, or nothing if impossible."""
    tokens = [token for word in words for token in word]
    if not tokens or not len(kept_TC):
        return []
    log_probs_BTC = kept_TC.float().unsqueeze(0)
    ids_T = align(
        log_probs_BTC,
        torch.tensor([len(kept_TC)]),
        torch.tensor([tokens]),
        torch.tensor([len(tokens)]),
    )[0]
    if ids_T[0] == NO_LABEL:
        return []
    is_new_T = torch.ones_like(ids_T, dtype=torch.bool)
    is_new_T[1:] = ids_T[1:] != ids_T[:-1]
    firsts = (is_new_T & (ids_T != 0)).nonzero().squeeze(-1).tolist()
    is_last_T = is_new_T.roll(-1)
    is_last_T[-1:] = True
    lasts = (is_last_T & (ids_T != 0)).nonzero().squeeze(-1).tolist()
    scores_T = log_probs_BTC[0].gather(1, ids_T.unsqueeze(1)).squeeze(1)
    spans = []
    at = 0
    for word in words:
        start, end = firsts[at], lasts[at + len(word) - 1] + 1
        own_T = ids_T[start:end] != 0
        score = float(scores_T[start:end][own_T].mean().exp())
        spans.append((start, end, score))
        at += len(word)
    return spans


def _without_unsaid(found: Sequence[AlignedTextWord]) -> list[AlignedTextWord]:
    """Remove the times of consecutive words that are very improbable."""
    kept: list[AlignedTextWord] = []
    for is_unlikely, group in groupby(found, key=lambda one: one.score < UNSAID_SCORE):
        run = list(group)
        if is_unlikely and len(run) >= STRAY_WORDS:
            run = [replace(one, start_s=None, end_s=None) for one in run]
        kept += run
    return kept


def _without_overlaps(found: Sequence[AlignedTextWord]) -> list[AlignedTextWord]:
    """Let every word end before the next one begins."""
    kept: list[AlignedTextWord] = []
    next_s = float("inf")
    for one in reversed(found):
        if one.start_s is None or one.end_s is None:
            kept.append(one)
            continue
        kept.append(replace(one, end_s=min(one.end_s, next_s)))
        next_s = one.start_s
    return kept[::-1]


def _extra_words(
    read: Sequence[TimedWord], match: _Match, found: Sequence[AlignedTextWord]
) -> tuple[TimedWord, ...]:
    """Return words recognised where the text has none, in runs of `STRAY_WORDS` or more."""
    equal = {other for _, other in match.pairs}
    spoken = [(one.start_s, one.end_s) for one in found if one.start_s is not None]
    extra: list[TimedWord] = []
    run: list[TimedWord] = []
    place = 0
    for at, one in enumerate(read):
        while place < len(spoken) and (spoken[place][1] or 0.0) <= one.start_s:
            place += 1
        is_free = place == len(spoken) or (spoken[place][0] or 0.0) >= one.end_s
        if is_free and at not in equal:
            run.append(one)
            continue
        extra += run if len(run) >= STRAY_WORDS else []
        run = []
    return (*extra, *(run if len(run) >= STRAY_WORDS else ()))
