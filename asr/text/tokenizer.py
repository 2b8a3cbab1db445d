"""Tokenisers: text to characters, subwords or words, with sentencepiece.

Byte pair encoding: Sennrich et al. 2016. Unigram: Kudo 2018. SentencePiece: Kudo and
Richardson 2018.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal, get_args

import sentencepiece

from asr.errors import InputError
from asr.files import read_bytes
from asr.ranges import MAX_VOCABULARY, Range, in_ranges
from asr.text.script import is_unspaced

TokenizerKind = Literal["char", "bpe", "unigram", "word"]

MAX_MODEL_BYTES = 8 << 20  # several times the size of a model of 250,000 pieces
BLANK_PIECE = "<blank>"
UNKNOWN_PIECE = "<unk>"
UNKNOWN_TEXT = "\u2047"
"""Sentencepiece's sign for a token without a text."""
WORD_START = "\u2581"
"""Sentencepiece's sign for a space, which begins the first piece of a word."""
_RESERVED = dict.fromkeys(map(ord, "\u2581\u2585"), " ")  # sentencepiece skips lines with them
_LOG_NOTHING_BELOW_ERROR = 2
_MAX_TEXT_NUM_BYTES = 1 << 20  # sentencepiece skips longer lines; its default is 4192

_log = logging.getLogger(__name__)


def is_word_start(piece: str) -> bool:
    """Return whether a word ends before ``piece``; in scripts without spaces one always does."""
    return piece.startswith(WORD_START) or is_unspaced(piece)


class Tokenizer:
    """A sentencepiece model: piece 0 is the CTC blank, never in text; piece 1 means unknown.

    ``decode(encode(text)) == text`` for text with single spaces whose characters are all known.
    """

    blank_id = 0
    unk_id = 1

    def __init__(self, model: bytes) -> None:
        """Load the bytes of a sentencepiece model; ``InputError`` unless `train` made it."""
        try:
            self._processor = _processor(model)
            self.vocab_size: int = self._processor.vocab_size()
            pieces = self.pieces(range(self.unk_id + 1, self.vocab_size))
            self.is_of_words = all(len(one) > 1 and one[0] == WORD_START for one in pieces)
            self.characters = _characters(pieces, are_words=self.is_of_words)
        except (IndexError, UnicodeDecodeError) as error:
            raise InputError(f"not a tokenizer: its pieces are damaged ({error})") from error

    @classmethod
    def train(
        cls, texts: Iterable[str], *, kind: TokenizerKind, vocab_size: int, exact: bool = False
    ) -> Tokenizer:
        """Train on normalised transcripts, which are read once; no file is written.

        The same texts give the same bytes. If the texts are too small for ``vocab_size`` pieces,
        the tokenizer gets the largest possible vocabulary. Raises ``InputError`` if ``vocab_size``
        is smaller than the number of characters, if there is no text, or, with ``exact``, if the
        texts are too small. For kind ``char`` the number of characters alone sets the vocabulary.
        Kind ``word`` uses the most frequent words; all others are unknown.
        """
        if kind not in get_args(TokenizerKind):
            raise InputError(
                f"text.tokenizer.kind: {kind!r} is not one of {', '.join(get_args(TokenizerKind))}"
            )
        lines = list(_lines(texts))
        characters = set().union(*lines) - {" "}
        if not characters:
            raise InputError("text.tokenizer: no text to train on; every transcript is empty")
        min_vocab_size = 3  # blank, unknown, a word
        if kind != "word":
            min_vocab_size = len(characters) + 3  # blank, unknown, word mark
        if vocab_size < min_vocab_size:
            raise InputError(
                f"text.tokenizer.vocab_size: {vocab_size} is too small for the "
                f"{len(characters)} characters of the transcripts; use {min_vocab_size} or more"
            )
        tokenizer = cls(_train(lines, kind, vocab_size))
        if tokenizer.vocab_size < vocab_size and kind != "char":
            if exact:
                raise InputError(
                    f"text.tokenizer.vocab_size={vocab_size}: more than the transcripts give; "
                    f"allowed: {min_vocab_size} to {tokenizer.vocab_size}"
                )
            _log.warning(
                "text.tokenizer.vocab_size: the transcripts give %d pieces at most, not %d",
                tokenizer.vocab_size,
                vocab_size,
            )
        return tokenizer

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a file that :meth:`save` wrote; ``InputError`` names the file."""
        model = read_bytes(Path(path), most=MAX_MODEL_BYTES)
        try:
            return cls(model)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sentencepiece model."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def from_bytes(cls, model: bytes) -> Tokenizer:
        """Load the result of :meth:`to_bytes`."""
        return cls(model)

    def to_bytes(self) -> bytes:
        """Return the sentencepiece model; equal bytes mean equal tokenizers."""
        model: bytes = self._processor.serialized_model_proto()
        return model

    def encode(self, text: str) -> list[int]:
        """Return the token ids of normalised text, with ``unk_id`` for unknown parts.

        Unknown parts are characters, or whole words if the pieces are words.
        """
        if self.is_of_words:  # sentencepiece would join consecutive unknown words
            return [self._processor.piece_to_id(WORD_START + word) for word in text.split()]
        token_ids: list[int] = self._processor.encode(text)
        return token_ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, without blanks; an unknown character becomes ``⁇``."""
        text: str = self._processor.decode(list(token_ids))
        return text

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """Return the piece of each token, with ``▁`` where a word begins."""
        return [self._processor.id_to_piece(token_id) for token_id in token_ids]

    def surfaces(self, token_ids: Sequence[int]) -> list[str]:
        """Return the text of each token as `decode` spells it, with ``▁`` where a word begins.

        They are the pieces, but unknown tokens are ``⁇``, and the text of a run of bytes comes with
        the first of them.
        """
        unknown = WORD_START + UNKNOWN_TEXT if self.is_of_words else UNKNOWN_TEXT
        found: list[str] = []
        for are_bytes, run in groupby(token_ids, self._processor.is_byte):
            ids = list(run)
            if are_bytes:
                found += [self.decode(ids), *[""] * (len(ids) - 1)]
            else:
                pieces = self.pieces(ids)
                pairs = zip(ids, pieces, strict=True)
                found += [unknown if one == self.unk_id else piece for one, piece in pairs]
        return found

    @property
    def vocabulary(self) -> list[str]:
        """All pieces, in the order of their ids."""
        return self.pieces(range(self.vocab_size))

    @cached_property
    def word_starts(self) -> frozenset[int]:
        """The ids of tokens before which a word ends; see `is_word_start`."""
        return frozenset(at for at, piece in enumerate(self.vocabulary) if is_word_start(piece))

    def unknown_characters(self, text: str) -> str:
        """Return the characters of ``text`` that no piece covers, sorted; "" if all are known."""
        return "".join(sorted(set(text).difference(self.characters)))

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, characters={self.characters!r})"


@in_ranges("text.tokenizer")
@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """The tokenizer of a run: trained on its transcripts, or read from the file ``model``.

    A run that starts from another model (``init``) uses that model's tokenizer while ``of_init`` is
    true. Otherwise it trains its own, and having fewer than ``vocab_size`` pieces is an error.
    """

    kind: TokenizerKind
    vocab_size: Annotated[int, Range(1, MAX_VOCABULARY)]
    model: str | None = None
    of_init: bool = True

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Train or load the tokenizer; ``texts`` are not read if ``model`` is given."""
        if self.model is not None:
            return Tokenizer.load(self.model)
        return Tokenizer.train(
            texts, kind=self.kind, vocab_size=self.vocab_size, exact=not self.of_init
        )


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Yield each text on one line; leave out empty ones."""
    for text in texts:
        spelt = text if text.isascii() else text.translate(_RESERVED)
        if line := " ".join(spelt.split()):
            yield line


def _train(lines: Sequence[str], kind: TokenizerKind, vocab_size: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type=kind,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=_MAX_TEXT_NUM_BYTES,
        num_threads=1,
        pad_id=Tokenizer.blank_id,
        pad_piece=BLANK_PIECE,
        unk_id=Tokenizer.unk_id,
        unk_piece=UNKNOWN_PIECE,
        unk_surface=f" {UNKNOWN_TEXT}" if kind == "word" else UNKNOWN_TEXT,
        bos_id=-1,
        eos_id=-1,
        minloglevel=_LOG_NOTHING_BELOW_ERROR,
    )
    return model.getvalue()


def _processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    if not model:  # sentencepiece would accept it as a model without pieces
        raise InputError("not a tokenizer: empty")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise InputError("not a tokenizer: sentencepiece cannot read it") from error
    if processor.id_to_piece(0) != BLANK_PIECE or processor.unk_id() != Tokenizer.unk_id:
        raise InputError(
            f"not a tokenizer of this toolkit: piece 0 must be {BLANK_PIECE} and piece 1 "
            f"{UNKNOWN_PIECE}, here they are {processor.id_to_piece(0)} and "
            f"{processor.id_to_piece(1)}"
        )
    return processor


def _characters(pieces: Sequence[str], *, are_words: bool) -> str:
    """Return every character that the pieces cover, sorted, with the space.

    Each is a piece of its own, unless all pieces are words.
    """
    single = set("".join(pieces)) if are_words else {one for one in pieces if len(one) == 1}
    return "".join(sorted(single - {WORD_START} | {" "}))
