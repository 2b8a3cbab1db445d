"""One ONNX file as a complete recogniser, run by ONNX Runtime."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from asr.errors import InputError
from asr.features.frontend import Frontend
from asr.files import read_bytes
from asr.interop.onnx.check import MAX_ONNX_BYTES, check_graph
from asr.model.build import build, build_frontend, check_groups
from asr.model.package import ModelPackage, parse_config
from asr.nn.int8 import has_vnni
from asr.ranges import shown
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

_FATAL = 4  # ONNX Runtime raises other errors as exceptions


class Session:
    """A loaded graph, run on the CPU: tensors in, tensors out, by name.

    ``max_mib`` is for a stranger's graph: constants are computed when it runs, not while it is
    loaded, and all arrays together are limited to this memory. The first session of a process with
    such a limit sets it for all others.
    """

    def __init__(
        self,
        content: bytes,
        *,
        where: Path | str,
        num_threads: int | None = None,
        max_mib: float | None = None,
    ) -> None:
        self.where = where
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        options.log_severity_level = _FATAL
        if max_mib is not None:
            _bound_memory(max_mib)
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                content,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=None if max_mib is None else ["ConstantFolding"],
            )
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise self._error("ONNX Runtime cannot load it", error) from error
        self.inputs = {one.name: (one.type, len(one.shape)) for one in self._session.get_inputs()}
        self.outputs = {one.name: list(one.shape) for one in self._session.get_outputs()}

    @property
    def metadata(self) -> dict[str, str]:
        """Text stored beside the graph."""
        try:
            stored: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise self._error("its metadata is damaged", error) from error
        return stored

    def __call__(
        self, inputs: Mapping[str, Tensor], outputs: Sequence[str], *, limit_s: float | None = None
    ) -> list[Tensor]:
        """Return the named outputs.

        Raises:
            InputError: the graph does not run on these inputs, or not within ``limit_s``.
        """
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        options = onnxruntime.RunOptions()
        timer = threading.Timer(limit_s or 0.0, setattr, (options, "terminate", True))
        if limit_s is not None:
            timer.daemon = True
            timer.start()
        try:
            found = self._session.run(list(outputs), arrays, options)
            return [torch.from_numpy(one) for one in found]
        except Exception as error:
            if options.terminate:
                raise InputError(
                    f"{self.where}: its graph ran longer than {limit_s:.0f} s"
                ) from None
            raise self._error("its graph cannot be run", error) from error
        finally:
            timer.cancel()

    def _error(self, what: str, error: Exception) -> InputError:
        reason = " ".join(str(error).split())
        return InputError(f"{self.where}: {what} ({reason[:300]})")


_bounds: list[float] = []


def _bound_memory(max_mib: float) -> None:
    """Limit the arrays of all sessions that share ONNX Runtime's allocator, once per process."""
    if not _bounds:
        memory = onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        )
        arena = onnxruntime.OrtArenaCfg({"max_mem": int(max_mib * 2**20)})
        onnxruntime.create_and_register_allocator(memory, arena)
        _bounds.append(max_mib)


INPUTS = ["waveforms", "waveform_lengths"]
OUTPUTS = ["log_probs", "frame_lengths"]
INPUT_TYPES = {INPUTS[0]: ("tensor(float)", 2), INPUTS[1]: ("tensor(int64)", 1)}
FRAME_FACTORS = ("1", "2", "4", "8", "16", "32", "64")
LEAST_LIMIT_S, LIMIT_PER_S = 20.0, 20.0
"""A call may take this many seconds, and this many more per second of padded audio."""
LEAST_MEMORY_MIB, MEMORY_OF_FILE = 1024.0, 3.0
"""Arrays may take this many MiB, and this many more bytes per byte of the file."""
_FORMAT, _CONFIG, _TOKENIZER, _PIECES, _FACTOR = (
    f"encore.{name}" for name in ("format", "config", "tokenizer", "pieces", "subsampling_factor")
)
_VERSION = "1"
WEIGHT_BITS = "encore.weight_bits"
"""Metadata key of a file with 8-bit products; its value is 7 or 8."""


class OnnxModel:
    """An exported model with the interface of `asr.model.asr_model.AsrModel`."""

    device = torch.device("cpu")
    runs_in_threads = False
    """False, since the session has its own threads."""

    def __init__(
        self, session: Session, *, frontend: Frontend, subsampling_factor: int, vocab_size: int
    ) -> None:
        self.session = session
        self.frontend = frontend
        self.subsampling_factor = subsampling_factor
        self.vocab_size = vocab_size

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return log probabilities (B, T, V) and the number of valid frames (B,).

        Raises:
            InputError: see `outputs`.
        """
        log_probs_BTV, frame_lengths_B = self.outputs(waveforms_BN, lengths_B, OUTPUTS)
        return log_probs_BTV, frame_lengths_B

    def _num_frames(self, num_samples: Tensor) -> Tensor:
        num_frames = self.frontend.fbank.num_frames(num_samples)
        return -torch.div(-num_frames, self.subsampling_factor, rounding_mode="floor")

    def outputs(self, waveforms_BN: Tensor, lengths_B: Tensor, names: list[str]) -> list[Tensor]:
        """Return the named outputs of the graph, which begin with `OUTPUTS`.

        Raises:
            InputError: the graph fails, takes far longer than the audio, or returns anything but
                log probabilities with the right number of frames.
        """
        seconds = waveforms_BN.numel() / self.frontend.sample_rate_hz
        inputs = dict(zip(INPUTS, (waveforms_BN, lengths_B), strict=True))
        found = self.session(inputs, names, limit_s=LEAST_LIMIT_S + LIMIT_PER_S * seconds)
        log_probs_BTV, frame_lengths_B = found[:2]
        expected_B = self._num_frames(lengths_B)
        padded = int(self._num_frames(torch.tensor(waveforms_BN.shape[1])))
        shape = (len(lengths_B), padded, self.vocab_size)
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
        """Run the graph on two short pieces of silence; raise InputError as `outputs` does."""
        num_samples = self.frontend.sample_rate_hz
        self(torch.zeros(2, num_samples), torch.tensor([num_samples, num_samples // 2]))


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


@dataclass(frozen=True, slots=True)
class OnnxPackage:
    """A loaded ONNX file."""

    config: dict[str, Any]
    model: OnnxModel
    tokenizer: Tokenizer
    normalizer: TranscriptNormalizer


def metadata_of(package: ModelPackage) -> dict[str, str]:
    """Return the metadata to store beside the graph of a package."""
    tokenizer = package.tokenizer
    return {
        _FORMAT: _VERSION,
        _CONFIG: json.dumps(package.config),
        _TOKENIZER: base64.b64encode(tokenizer.to_bytes()).decode("ascii"),
        _PIECES: json.dumps(tokenizer.pieces(range(tokenizer.vocab_size)), ensure_ascii=False),
        _FACTOR: str(package.model.subsampling_factor),
    }


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """The content of any file of `asr export`."""

    session: Session
    stored: dict[str, str]
    config: dict[str, Any]
    tokenizer: Tokenizer
    subsampling_factor: int

    @property
    def normalizer(self) -> TranscriptNormalizer:
        """The normaliser of transcripts."""
        found: TranscriptNormalizer = build(self.config["text"].get("normalize"), "text.normalize")
        return found


def overflows() -> bool:
    """Return whether sums of 8-bit products overflow in ONNX Runtime: on x86 without VNNI."""
    return platform.machine().lower() in ("x86_64", "amd64") and not has_vnni()


def open_onnx(content: bytes, *, where: Path | str) -> OpenedFile:
    """Read a file of `asr export`, for whole utterances or streams.

    Raises:
        InputError: not an ONNX graph, not one of this toolkit, or refused by
            `check_graph`.
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
    if stored.get(WEIGHT_BITS) == "8" and overflows():
        logger.warning(
            "%s: its weights have 8 bits, and products of them overflow on this processor, which "
            "has no VNNI; export it with --weight-bits 7",
            where,
        )
    tokenizer = _tokenizer(stored.get(_TOKENIZER, ""), where)
    config = parse_config(stored.get(_CONFIG, ""), f"{where}: {_CONFIG}")
    check_groups(config, "text", "features")
    factor = stored.get(_FACTOR, "")
    if factor not in FRAME_FACTORS:
        raise InputError(
            f"{where}: {_FACTOR} is {shown(factor)}; allowed: {', '.join(FRAME_FACTORS)}"
        )
    return OpenedFile(session, stored, config, tokenizer, int(factor))


def load_onnx(path: Path) -> OnnxPackage:
    """Load a file for whole utterances that `asr export` wrote.

    Raises:
        InputError: no such file, or see `parse_onnx`.
    """
    return parse_onnx(read_bytes(path, most=MAX_ONNX_BYTES), where=path)


def parse_onnx(content: bytes, *, where: Path | str) -> OnnxPackage:
    """Load a file for whole utterances from its bytes; errors name its place ``where``.

    Raises:
        InputError: see `open_onnx` and `OnnxModel.outputs`.
    """
    return whole_of(open_onnx(content, where=where))


def whole_of(opened: OpenedFile) -> OnnxPackage:
    """Return the model for whole utterances in a file.

    Raises:
        InputError: its graph is of another kind, or fails; see `OnnxModel.outputs`.
    """
    session, tokenizer = opened.session, opened.tokenizer
    if session.inputs != INPUT_TYPES or session.outputs.get(OUTPUTS[0], [])[-1:] != [
        tokenizer.vocab_size
    ]:
        raise InputError(
            f"{session.where}: its graph must take {', '.join(INPUTS)} and give {OUTPUTS[0]} of "
            f"{tokenizer.vocab_size} tokens"
        )
    model = OnnxModel(
        session,
        frontend=build_frontend(opened.config).eval(),
        subsampling_factor=opened.subsampling_factor,
        vocab_size=tokenizer.vocab_size,
    )
    model.try_once()
    return OnnxPackage(
        config=opened.config, model=model, tokenizer=tokenizer, normalizer=opened.normalizer
    )


def _tokenizer(encoded: str, where: Path | str) -> Tokenizer:
    try:
        return Tokenizer.from_bytes(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:  # InputError is a ValueError
        raise InputError(f"{where}: {_TOKENIZER}: {error}") from error
