"""The interface that decoding needs of a model, in PyTorch or ONNX Runtime, and its loading.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from asr.encoder.precision import AUTO, resolved_dtype
from asr.errors import InputError
from asr.features.frontend import Frontend
from asr.model.package import ModelPackage, load_package
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer

ONNX_SUFFIX = ".onnx"


class AcousticModel(Protocol):
    """Waveforms to log probabilities."""

    @property
    def frontend(self) -> Frontend:
        """Computes the features; has the sample rate, the window and the shift."""

    @property
    def subsampling_factor(self) -> int:
        """Feature frames per encoder frame."""

    @property
    def device(self) -> torch.device:
        """The device that waveforms must be on."""

    @property
    def runs_in_threads(self) -> bool:
        """Whether to run one batch a thread, each thread on one core."""

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T, V) and the number of valid frames (B,)."""


class Recogniser(Protocol):
    """A loaded model with its tokenizer; `ModelPackage` is one."""

    @property
    def config(self) -> dict[str, Any]:
        """The config of the model."""

    @property
    def model(self) -> AcousticModel:
        """The model, ready for use."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model."""

    @property
    def normalizer(self) -> TranscriptNormalizer:
        """The normalisation of its transcripts."""


def load_recogniser(
    path: Path,
    device: torch.device | str = "cpu",
    dtype: str = "float32",
    *,
    exit: int | None = None,
    exit_entropy: float | None = None,
) -> Recogniser:
    """Load a model folder, or a file that `asr export` wrote.

    The encoder of a folder computes in ``dtype``, see `resolved_dtype`, and ends behind ``exit``
    layers, or for each utterance where it is certain, see `ConfidentExit`.

    Raises:
        InputError: see `load_package` and `asr.interop.onnx.stream_file.load_exported`; both exits;
            or an exported file with another device than the CPU, another dtype than its own, or an
            exit.
    """
    if exit is not None and exit_entropy is not None:
        raise InputError("an exit for all and exits by entropy (exit, exit_entropy): give one")
    if path.suffix != ONNX_SUFFIX:
        package: ModelPackage = load_package(path, device, resolved_dtype(dtype, device), exit=exit)
        package.model.encoder.keep_between_calls()
        if exit_entropy is not None:
            package.model.exit_when_confident(exit_entropy)
        return package
    if exit is not None or exit_entropy is not None:
        raise InputError(f"{path} runs whole; exits (exit, exit_entropy) are for folders")
    if torch.device(device).type != "cpu":
        raise InputError(
            f"{path} runs in ONNX Runtime on the CPU; --device {device} is for folders"
        )
    if dtype not in (AUTO, "float32"):
        raise InputError(f"{path} computes in what it was exported in; --dtype is for folders")
    from asr.interop.onnx.file import RUNNING, check_installed

    check_installed(RUNNING, f"--model {path}")
    from asr.interop.onnx.stream_file import load_exported

    return load_exported(path)
