"""Conversion of Hugging Face's ``tokenizer.json`` to a sentencepiece model, and back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from asr.errors import InputError
from asr.ranges import shown
from asr.text.pieces import Piece, PieceModel, PieceType, merges, parse_piece_model
from asr.text.tokenizer import BLANK_PIECE, Tokenizer

_NORMALIZERS = ("Precompiled", "Replace", "Strip", "Prepend")


def piece_model(content: Mapping[str, Any], where: str, num_pieces: int) -> PieceModel:
    """Return the sentencepiece model that a ``tokenizer.json`` was made from."""
    model = content.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in ("BPE", "Unigram"):
        raise InputError(f"{where}: model.type={shown(kind)}; allowed: BPE, Unigram")
    assert isinstance(model, dict)
    character_map = b""
    for part in _parts(content.get("normalizer"), "normalizers"):
        if part.get("type") not in _NORMALIZERS:
            raise InputError(
                f"{where}: normalizer {shown(part.get('type'))}; allowed: {', '.join(_NORMALIZERS)}"
            )
        if part["type"] == "Precompiled":
            character_map = base64.b64decode(part.get("precompiled_charsmap") or "")
    try:
        scores, unknown = _scores(model)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise InputError(f"{where}: its model is damaged") from None
    added = content.get("added_tokens") or []
    control = {one.get("content") for one in added if one.get("special")} - {unknown}
    pieces = [
        Piece(text, score, _type(text, unknown, control)) for text, score in scores[:num_pieces]
    ]
    if unknown not in [piece.text for piece in pieces]:
        raise InputError(f"{where}: no piece for unknown text")
    return PieceModel("bpe" if kind == "BPE" else "unigram", tuple(pieces), character_map)


def _parts(part: Any, key: str) -> list[dict[str, Any]]:
    """Return the steps of a normalizer, which may be a sequence of them."""
    if not isinstance(part, dict):
        return []
    return [one for one in part[key] if isinstance(one, dict)] if key in part else [part]


def _scores(model: Mapping[str, Any]) -> tuple[list[tuple[str, float]], str]:
    """Return pieces with their scores in the order of their ids, and the unknown one."""
    if model["type"] == "Unigram":
        found = [(str(text), float(score)) for text, score in model["vocab"]]
        return found, found[int(model["unk_id"])][0]
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(model["merges"]):
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        ranks.setdefault(left + right, rank)
    in_order = sorted(model["vocab"].items(), key=lambda item: int(item[1]))
    last = len(ranks)
    return [(text, -float(ranks.get(text, last))) for text, _ in in_order], str(model["unk_token"])


def _type(text: str, unknown: str, control: set[Any]) -> PieceType:
    if text == unknown:
        return PieceType.UNKNOWN
    if text in control:
        return PieceType.CONTROL
    is_byte = len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return PieceType.BYTE if is_byte else PieceType.NORMAL


def tokenizer_json(tokenizer: Tokenizer, blank: str) -> dict[str, Any]:
    """Return a ``tokenizer.json`` equivalent to our tokenizer; the blank is last."""
    parsed = parse_piece_model(tokenizer.to_bytes())
    pieces = [piece for piece in parsed.pieces if piece.text != BLANK_PIECE]
    unknown = next(one for one, piece in enumerate(pieces) if piece.type is PieceType.UNKNOWN)
    has_bytes = any(piece.type is PieceType.BYTE for piece in pieces)
    normalizers: list[dict[str, Any]] = [
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]
    if parsed.character_map:
        packed = base64.b64encode(parsed.character_map).decode()
        normalizers.insert(0, {"type": "Precompiled", "precompiled_charsmap": packed})
    metaspace = {
        "type": "Metaspace",
        "replacement": "\u2581",
        "prepend_scheme": "always" if parsed.adds_space else "never",
        "split": False,
    }
    model: dict[str, Any] = {"byte_fallback": has_bytes}
    if parsed.kind == "unigram":
        vocab = [[piece.text, piece.score] for piece in pieces]
        model = {"type": "Unigram", "unk_id": unknown, "vocab": [*vocab, [blank, 0.0]], **model}
    else:
        model = {
            "type": "BPE",
            "unk_token": pieces[unknown].text,
            "fuse_unk": True,
            "vocab": {text: index for index, text in enumerate([*(p.text for p in pieces), blank])},
            "merges": [list(pair) for pair in merges(pieces)],
            **model,
        }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, text in ((unknown, pieces[unknown].text), (len(pieces), blank))
        ],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": metaspace,
        "post_processor": None,
        "decoder": metaspace,
        "model": model,
    }
