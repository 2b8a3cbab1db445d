"""The model interface that decoding uses, in PyTorch or ONNX Runtime, and loading of models.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from asr.encoder.precision import AUTO, resolved_dtype
from asr.errors import InputError, check_installed
from asr.features.frontend import Frontend
from asr.model.package import ModelPackage, load_package
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer

ONNX_SUFFIX = ".onnx"


class AcousticModel(Protocol):
    """A model from waveforms to head outputs, such as log probabilities."""

    @property
    def frontend(self) -> Frontend:
        """Feature frontend, with sample rate, window and shift."""

    @property
    def subsampling_factor(self) -> int:
        """Feature frames per encoder frame."""

    @property
    def device(self) -> torch.device:
        """Device that waveforms must be on."""

    @property
    def runs_in_threads(self) -> bool:
        """Whether to run one batch per thread, each thread on one core."""

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log probabilities (B, T, V) and the number of valid frames (B,)."""


class Recogniser(Protocol):
    """A loaded model with its tokenizer; `ModelPackage` is one."""

    @property
    def config(self) -> dict[str, Any]:
        """Config of the model."""

    @property
    def model(self) -> AcousticModel:
        """The model, ready for inference."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the model."""

    @property
    def normalizer(self) -> TranscriptNormalizer:
        """Normalisation of its transcripts."""


def load_recogniser(
    path: Path,
    device: torch.device | str = "cpu",
    dtype: str = "float32",
    *,
    exit: int | None = None,
    exit_entropy: float | None = None,
) -> Recogniser:
    """Load a model folder, or a file that `asr export` wrote.

    The encoder of a folder computes in ``dtype``, see `resolved_dtype`. It ends after ``exit``
    layers, or for each utterance at the first layer with low entropy, see `ConfidentExit`.

    Raises:
        InputError: see `load_package` and `asr.interop.onnx.stream_file.load_exported`; both exits
            are given; or an exported file with a device other than the CPU, a dtype other than its
            own, or an exit.
    """
    if exit is not None and exit_entropy is not None:
        raise InputError("exit and exit_entropy: give one of them")
    if path.suffix != ONNX_SUFFIX:
        package: ModelPackage = load_package(path, device, resolved_dtype(dtype, device), exit=exit)
        package.model.encoder.keep_between_calls()
        if exit_entropy is not None:
            package.model.exit_when_confident(exit_entropy)
        return package
    if exit is not None or exit_entropy is not None:
        raise InputError(f"{path}: exits (exit, exit_entropy) need a model folder")
    if torch.device(device).type != "cpu":
        raise InputError(
            f"{path} runs in ONNX Runtime on the CPU; --device {device} needs a model folder"
        )
    if dtype not in (AUTO, "float32"):
        raise InputError(f"{path} computes in its exported dtype; --dtype needs a model folder")
    check_installed(f"--model {path}", ("onnxruntime", "onnx"), extra="export")
    from asr.interop.onnx.stream_file import load_exported

    return load_exported(path)
