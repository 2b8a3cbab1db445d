"""Conversion between sentencepiece models and lists of pieces, and from NeMo's to our form.

A model is a protocol buffer: a sequence of fields, each a number and a value. Repeated fields add
up or replace earlier ones, so a model can be changed by putting fields before and after it. Field
numbers are those of ``sentencepiece_model.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import sentencepiece

from asr.errors import InputError
from asr.text.tokenizer import BLANK_PIECE, UNKNOWN_TEXT, Tokenizer

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _VOCAB_SIZE, _BYTE_FALLBACK = 3, 4, 35
_UNK_ID, _BOS_ID, _EOS_ID, _PAD_ID, _UNK_SURFACE, _PAD_PIECE = 40, 41, 42, 43, 44, 48
_RULE_NAME, _CHARACTER_MAP, _DUMMY_PREFIX, _REMOVE_SPACES, _ESCAPE_SPACES = 1, 2, 3, 4, 5
_VARINT, _BYTES, _FLOAT = 0, 2, 5
_MODEL_TYPES = {"unigram": 1, "bpe": 2, "word": 3, "char": 4}


class PieceType(IntEnum):
    """The type of a piece, as sentencepiece numbers it."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a vocabulary; pieces with higher scores are preferred."""

    text: str
    score: float
    type: PieceType = PieceType.NORMAL


@dataclass(frozen=True, slots=True)
class PieceModel:
    """A sentencepiece model as plain data; ``character_map`` is its compiled normalisation."""

    kind: Literal["bpe", "unigram"]
    pieces: tuple[Piece, ...]
    character_map: bytes = b""
    adds_space: bool = True


def with_blank(model: bytes) -> Tokenizer:
    """Return the tokenizer of a NeMo model, whose piece 0 stands for unknown text.

    A blank goes before all pieces, so every id rises by one. Text is encoded as before.

    Raises:
        InputError: not a sentencepiece model, or its unknown piece is not the first one.
    """
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        known = processor.vocab_size()
    except RuntimeError as error:
        raise InputError("tokenizer: sentencepiece cannot read it") from error
    if not known or processor.unk_id() != 0:
        raise InputError(
            f"tokenizer: its unknown piece is number {processor.unk_id()}; allowed: 0, as NeMo has"
        )
    for index in range(known):
        if processor.id_to_piece(index) == BLANK_PIECE:
            raise InputError(f"tokenizer: has a piece {BLANK_PIECE} of its own, number {index}")
    trainer = _number(_UNK_ID, Tokenizer.unk_id) + _number(_PAD_ID, Tokenizer.blank_id)
    trainer += _text(_UNK_SURFACE, UNKNOWN_TEXT.encode())
    trainer += _text(_PAD_PIECE, BLANK_PIECE.encode()) + _number(_VOCAB_SIZE, known + 1)
    for field, index in ((_BOS_ID, processor.bos_id()), (_EOS_ID, processor.eos_id())):
        trainer += _number(field, index + 1 if index >= 0 else -1)
    blank = _piece(Piece(BLANK_PIECE, 0.0, PieceType.CONTROL))
    return Tokenizer(blank + model + _text(_TRAINER, trainer))


def piece_model_bytes(model: PieceModel) -> bytes:
    """Build a sentencepiece model from pieces, one of which is unknown."""
    types = [piece.type for piece in model.pieces]
    unknown = types.index(PieceType.UNKNOWN)
    trainer = _number(_MODEL_TYPE, _MODEL_TYPES[model.kind])
    trainer += _number(_VOCAB_SIZE, len(model.pieces)) + _number(_UNK_ID, unknown)
    trainer += _number(_BOS_ID, -1) + _number(_EOS_ID, -1) + _number(_PAD_ID, -1)
    trainer += _text(_UNK_SURFACE, UNKNOWN_TEXT.encode())
    trainer += _number(_BYTE_FALLBACK, int(PieceType.BYTE in types))
    normalizer = _text(_RULE_NAME, b"user_defined" if model.character_map else b"identity")
    normalizer += _text(_CHARACTER_MAP, model.character_map)
    normalizer += _number(_DUMMY_PREFIX, int(model.adds_space))
    normalizer += _number(_REMOVE_SPACES, 1) + _number(_ESCAPE_SPACES, 1)
    pieces = b"".join(map(_piece, model.pieces))
    return pieces + _text(_TRAINER, trainer) + _text(_NORMALIZER, normalizer)


def parse_piece_model(model: bytes) -> PieceModel:
    """Parse any BPE or unigram model; the inverse of `piece_model_bytes`.

    Raises:
        InputError: the model is of another kind, or damaged.
    """
    pieces, kind_number, character_map, adds_space = [], 1, b"", True
    try:
        for field, value in _fields(model):
            if field == _PIECES and isinstance(value, bytes):
                inside = dict(_fields(value))
                score = inside.get(_SCORE, 0.0)
                assert isinstance(score, float)
                text, number = inside[_PIECE], inside.get(_TYPE, 1)
                assert isinstance(text, bytes)
                assert isinstance(number, int)
                pieces.append(Piece(text.decode(), score, PieceType(number)))
            elif field == _TRAINER and isinstance(value, bytes):
                found = dict(_fields(value)).get(_MODEL_TYPE, kind_number)
                kind_number = found if isinstance(found, int) else kind_number
            elif field == _NORMALIZER and isinstance(value, bytes):
                inside = dict(_fields(value))
                found = inside.get(_CHARACTER_MAP, character_map)
                character_map = found if isinstance(found, bytes) else character_map
                adds_space = bool(inside.get(_DUMMY_PREFIX, adds_space))
    except (AssertionError, IndexError, KeyError, ValueError, struct.error) as error:
        raise InputError("tokenizer: damaged") from error
    kinds: dict[int, Literal["bpe", "unigram"]] = {1: "unigram", 2: "bpe"}
    if kind_number not in kinds:
        raise InputError("tokenizer: neither BPE nor unigram")
    return PieceModel(kinds[kind_number], tuple(pieces), character_map, adds_space)


def merges(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Return the pairs of pieces that join to another piece, in BPE's order."""
    normal = {
        piece.text: (-piece.score, index)
        for index, piece in enumerate(pieces)
        if piece.type is PieceType.NORMAL
    }
    found = [
        (rank, split, text[:split], text[split:])
        for text, rank in normal.items()
        for split in range(1, len(text))
        if text[:split] in normal and text[split:] in normal
    ]
    return [(left, right) for _, _, left, right in sorted(found)]


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield field numbers and values of a message; values of eight bytes are left out."""
    at = 0
    while at < len(message):
        tag, at = _read_number(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            number, at = _read_number(message, at)
            yield field, number
        elif wire == _BYTES:
            size, at = _read_number(message, at)
            if at + size > len(message):
                raise ValueError(size)
            yield field, message[at : at + size]
            at += size
        elif wire == _FLOAT:
            (value,) = struct.unpack_from("<f", message, at)
            yield field, value
            at += 4
        elif wire == 1:
            at += 8
        else:
            raise ValueError(wire)


def _read_number(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(number % (1 << 64))


def _text(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(data)) + data


def _piece(piece: Piece) -> bytes:
    inside = _text(_PIECE, piece.text.encode())
    inside += _varint(_SCORE << 3 | _FLOAT) + struct.pack("<f", piece.score)
    return _text(_PIECES, inside + _number(_TYPE, int(piece.type)))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])
