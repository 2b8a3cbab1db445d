"""``--device`` and ``--dtype``: where a command computes, and in what."""

from __future__ import annotations

import argparse

import torch

from asr.types import DTYPES, InputError


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """``--device``, the CPU unless told."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def add_dtype_argument(parser: argparse.ArgumentParser) -> None:
    """``--dtype``, float32 unless told."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="what the encoder computes in (default: %(default)s)",
    )


def check_device(name: str) -> None:
    """Raise InputError unless PyTorch can compute on ``name``."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        allowed = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(
            f"--device {name}: not there on this machine; allowed: {', '.join(allowed)}"
        ) from None
