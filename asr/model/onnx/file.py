"""One file that holds a whole recogniser: the graph, and beside it what decoding needs.

Metadata of the ONNX file:

    encore.format              version of this layout
    encore.config              the package's config as JSON
    encore.tokenizer           the sentencepiece model in base64
    encore.pieces              the tokens as a JSON list, 0 the CTC blank: to decode elsewhere
    encore.subsampling_factor  feature frames per frame of the output

Loading one runs no code from it: the graph has ONNX's own operators, and only classes inside
``asr`` are built from the config. Yet a stranger's graph may burn time and memory: it is checked,
see `asr.model.onnx.check`, tried once, and bounded whenever it runs.

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

from asr.atomic import read_bytes
from asr.features.frontend import Frontend
from asr.model.build import build, build_frontend, check_groups
from asr.model.onnx.check import MAX_FILE_BYTES, check_graph
from asr.model.onnx.session import Session
from asr.model.package import ModelPackage, parse_config
from asr.ranges import shown
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer
from asr.types import InputError

INPUTS = ["waveforms", "waveform_lengths"]
OUTPUTS = ["log_probs", "frame_lengths"]
INPUT_TYPES = {INPUTS[0]: ("tensor(float)", 2), INPUTS[1]: ("tensor(int64)", 1)}
FACTORS = ("1", "2", "4", "8", "16")
LEAST_LIMIT_S, LIMIT_PER_S = 20.0, 20.0
"""A call may take so many seconds, and as many more for each second of padded audio."""
LEAST_MEMORY_MIB, MEMORY_OF_FILE = 1024.0, 3.0
"""Arrays may take so much, and as much more for each byte of the file."""
_FORMAT, _CONFIG, _TOKENIZER, _PIECES, _FACTOR = (
    f"encore.{name}" for name in ("format", "config", "tokenizer", "pieces", "subsampling_factor")
)
_VERSION = "1"


class OnnxModel:
    """An exported model: waveform in, log probabilities out, as `asr.model.asr_model.AsrModel`."""

    device = torch.device("cpu")
    runs_side_by_side = False
    """The session has threads of its own."""

    def __init__(
        self, session: Session, *, frontend: Frontend, subsampling_factor: int, vocab_size: int
    ) -> None:
        self.session = session
        self.frontend = frontend
        self.subsampling_factor = subsampling_factor
        self.vocab_size = vocab_size

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T, V) and the number of valid frames (B,).

        Raises:
            InputError: see `outputs`.
        """
        log_probs_BTV, frame_lengths_B = self.outputs(waveforms_BN, lengths_B, OUTPUTS)
        return log_probs_BTV, frame_lengths_B

    def outputs(self, waveforms_BN: Tensor, lengths_B: Tensor, names: list[str]) -> list[Tensor]:
        """The named outputs of the graph, of which `OUTPUTS` come first.

        Raises:
            InputError: the graph fails, takes far longer than the audio, or gives anything but
                log probabilities of the frames that so much audio has.
        """
        seconds = waveforms_BN.numel() / self.frontend.sample_rate_hz
        inputs = dict(zip(INPUTS, (waveforms_BN, lengths_B), strict=True))
        found = self.session(inputs, names, limit_s=LEAST_LIMIT_S + LIMIT_PER_S * seconds)
        log_probs_BTV, frame_lengths_B = found[:2]
        num_frames_B = self.frontend.fbank.num_frames(lengths_B)
        expected_B = -torch.div(-num_frames_B, self.subsampling_factor, rounding_mode="floor")
        shape = (len(lengths_B), int(expected_B.max()), self.vocab_size)
        if (
            log_probs_BTV.dtype != torch.float32
            or frame_lengths_B.dtype != torch.int64
            or tuple(log_probs_BTV.shape) != shape
            or frame_lengths_B.tolist() != expected_B.tolist()
        ):
            raise InputError(
                f"{self.session.where}: its graph gives {_described(log_probs_BTV)} and "
                f"{_described(frame_lengths_B)}; allowed: {OUTPUTS[0]} float32 {list(shape)} and "
                f"{OUTPUTS[1]} int64 {expected_B.tolist()}"
            )
        return found

    def try_once(self) -> None:
        """Run the graph on two short stretches of silence; InputError as `outputs`."""
        num_samples = self.frontend.sample_rate_hz
        self(torch.zeros(2, num_samples), torch.tensor([num_samples, num_samples // 2]))


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


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
        InputError: no such file, not an ONNX graph, not one of this toolkit, or one that is not
            run, see `check_graph` and `OnnxModel.outputs`.
    """
    return parse_onnx(read_bytes(path, most=MAX_FILE_BYTES), where=path)


def parse_onnx(content: bytes, *, where: Path | str) -> OnnxPackage:
    """What such a file holds; ``where`` it comes from is named in errors.

    Raises:
        InputError: see `load_onnx`.
    """
    check_graph(content, where)
    max_mib = LEAST_MEMORY_MIB + MEMORY_OF_FILE * len(content) / 2**20
    session = Session(content, where=where, max_mib=max_mib)
    stored = session.metadata
    if stored.get(_FORMAT) != _VERSION:
        raise InputError(
            f"{where}: not a file of `asr export` ({_FORMAT} is {stored.get(_FORMAT)!r}; "
            f"{_VERSION!r} can be read)"
        )
    tokenizer = _tokenizer(stored.get(_TOKENIZER, ""), where)
    if session.inputs != INPUT_TYPES or session.outputs.get(OUTPUTS[0], [])[-1:] != [
        tokenizer.vocab_size
    ]:
        raise InputError(
            f"{where}: its graph must take {', '.join(INPUTS)} and give {OUTPUTS[0]} of "
            f"{tokenizer.vocab_size} tokens"
        )
    config = parse_config(stored.get(_CONFIG, ""), f"{where}: {_CONFIG}")
    check_groups(config, "text", "features")
    factor = stored.get(_FACTOR, "")
    if factor not in FACTORS:
        raise InputError(f"{where}: {_FACTOR} is {shown(factor)}; allowed: {', '.join(FACTORS)}")
    model = OnnxModel(
        session,
        frontend=build_frontend(config).eval(),
        subsampling_factor=int(factor),
        vocab_size=tokenizer.vocab_size,
    )
    model.try_once()
    return OnnxPackage(
        config=config,
        model=model,
        tokenizer=tokenizer,
        normalizer=build(config["text"].get("normalize"), "text.normalize"),
    )


def _tokenizer(encoded: str, where: Path | str) -> Tokenizer:
    try:
        return Tokenizer.from_bytes(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:  # InputError is a ValueError
        raise InputError(f"{where}: {_TOKENIZER}: {error}") from error
