"""One file that holds a whole recogniser: the graph, and beside it what decoding needs.

Metadata of the ONNX file:

    encore.format              version of this layout
    encore.config              the package's config as JSON
    encore.tokenizer           the sentencepiece model in base64
    encore.pieces              the tokens as a JSON list, 0 the CTC blank: to decode elsewhere
    encore.subsampling_factor  feature frames per frame of the output

Loading one runs no code from it: the graph has ONNX's own operators, and only classes inside
``asr`` are built from the config.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.features.frontend import Frontend
from asr.model.build import build, build_frontend, check_groups
from asr.model.onnx.session import Session
from asr.model.package import ModelPackage, parse_config
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer
from asr.types import InputError

INPUTS = ["waveforms", "waveform_lengths"]
OUTPUTS = ["log_probs", "frame_lengths"]
_FORMAT, _CONFIG, _TOKENIZER, _PIECES, _FACTOR = (
    f"encore.{name}" for name in ("format", "config", "tokenizer", "pieces", "subsampling_factor")
)
_VERSION = "1"


class OnnxModel:
    """An exported model: waveform in, log probabilities out, as `asr.model.asr_model.AsrModel`."""

    device = torch.device("cpu")
    runs_side_by_side = False
    """The session has threads of its own."""

    def __init__(self, session: Session, *, frontend: Frontend, subsampling_factor: int) -> None:
        self.session = session
        self.frontend = frontend
        self.subsampling_factor = subsampling_factor

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T, V) and the number of valid frames (B,)."""
        log_probs_BTV, frame_lengths_B = self.outputs(waveforms_BN, lengths_B, OUTPUTS)
        return log_probs_BTV, frame_lengths_B

    def outputs(self, waveforms_BN: Tensor, lengths_B: Tensor, names: list[str]) -> list[Tensor]:
        """The named outputs of the graph."""
        return self.session(dict(zip(INPUTS, (waveforms_BN, lengths_B), strict=True)), names)


@dataclass(frozen=True, slots=True)
class OnnxPackage:
    """A loaded file."""

    config: dict[str, Any]
    model: OnnxModel
    tokenizer: Tokenizer
    normalizer: TranscriptNormalizer


def metadata_of(package: ModelPackage) -> dict[str, str]:
    """What is stored beside the graph of a package."""
    tokenizer = package.tokenizer
    return {
        _FORMAT: _VERSION,
        _CONFIG: json.dumps(package.config),
        _TOKENIZER: base64.b64encode(tokenizer.to_bytes()).decode("ascii"),
        _PIECES: json.dumps(tokenizer.pieces(range(tokenizer.vocab_size)), ensure_ascii=False),
        _FACTOR: str(package.model.subsampling_factor),
    }


def load_onnx(path: Path) -> OnnxPackage:
    """Load a file that `asr export` wrote.

    Raises:
        InputError: no such file, not an ONNX graph, or not one of this toolkit.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: no exported model can be read ({error.strerror})") from error
    return parse_onnx(content, where=path)


def parse_onnx(content: bytes, *, where: Path | str) -> OnnxPackage:
    """What such a file holds; ``where`` it comes from is named in errors.

    Raises:
        InputError: see `load_onnx`.
    """
    session = Session(content, where=where)
    stored = session.metadata
    if stored.get(_FORMAT) != _VERSION:
        raise InputError(
            f"{where}: not a file of `asr export` ({_FORMAT} is {stored.get(_FORMAT)!r}; "
            f"{_VERSION!r} can be read)"
        )
    tokenizer = _tokenizer(stored.get(_TOKENIZER, ""), where)
    if session.inputs != INPUTS or session.outputs.get(OUTPUTS[0], [])[-1:] != [
        tokenizer.vocab_size
    ]:
        raise InputError(
            f"{where}: its graph must take {', '.join(INPUTS)} and give {OUTPUTS[0]} of "
            f"{tokenizer.vocab_size} tokens"
        )
    config = parse_config(stored.get(_CONFIG, ""), f"{where}: {_CONFIG}")
    check_groups(config, "text", "features")
    factor = stored.get(_FACTOR, "")
    if not factor.isdecimal() or int(factor) < 1:
        raise InputError(f"{where}: {_FACTOR} is {factor!r}; allowed: 1 or more")
    return OnnxPackage(
        config=config,
        model=OnnxModel(
            session, frontend=build_frontend(config).eval(), subsampling_factor=int(factor)
        ),
        tokenizer=tokenizer,
        normalizer=build(config["text"].get("normalize"), "text.normalize"),
    )


def _tokenizer(encoded: str, where: Path | str) -> Tokenizer:
    try:
        return Tokenizer.from_bytes(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:  # InputError is a ValueError
        raise InputError(f"{where}: {_TOKENIZER}: {error}") from error
