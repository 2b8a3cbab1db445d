"""What decoding needs of a model, whichever program computes it.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from asr.features.frontend import Frontend
from asr.model.package import ModelPackage, load_package
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer
from asr.types import InputError

ONNX_SUFFIX = ".onnx"


class AcousticModel(Protocol):
    """Waveforms to log probabilities."""

    @property
    def frontend(self) -> Frontend:
        """What the features are: sample rate, windows, shifts."""

    @property
    def subsampling_factor(self) -> int:
        """Feature frames per encoder frame."""

    @property
    def device(self) -> torch.device:
        """Where waveforms are wanted."""

    @property
    def runs_side_by_side(self) -> bool:
        """Whether threads of one core each, a batch each, are a good use of several cores."""

    def __call__(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T, V) and the number of valid frames (B,)."""


class Recogniser(Protocol):
    """A loaded model with its tokenizer; `ModelPackage` is one."""

    @property
    def config(self) -> dict[str, Any]:
        """How it is built."""

    @property
    def model(self) -> AcousticModel:
        """The model, ready for use."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokens."""

    @property
    def normalizer(self) -> TranscriptNormalizer:
        """How its transcripts are written."""


def load_recogniser(
    path: Path, device: torch.device | str = "cpu", dtype: str = "float32"
) -> Recogniser:
    """A model folder, or a file that `asr export` wrote, whose encoder computes in ``dtype``.

    Raises:
        InputError: see `load_package` and `asr.interop.onnx.file.load_onnx`; or an exported file
            that is to run elsewhere than on the CPU, or in another dtype than its own.
    """
    if path.suffix != ONNX_SUFFIX:
        package: ModelPackage = load_package(path, device, dtype)
        package.model.encoder.keep_between_calls()
        return package
    if torch.device(device).type != "cpu":
        raise InputError(
            f"{path} runs in ONNX Runtime on the CPU; --device {device} is for folders"
        )
    if dtype != "float32":
        raise InputError(f"{path} computes in what it was exported in; --dtype is for folders")
    from asr.interop.onnx.file import RUNNING, check_installed

    check_installed(RUNNING, f"--model {path}")
    from asr.interop.onnx.file import load_onnx

    return load_onnx(path)
