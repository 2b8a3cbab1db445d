"""``--device``, ``--dtype`` and ``--cuda-graphs``: the device and number format of a command."""

from __future__ import annotations

import argparse

import torch

from asr.decode.recogniser import AcousticModel
from asr.encoder.graphed import GraphedEncoder, check_graphs
from asr.encoder.precision import AUTO
from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.types import DTYPES


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, by default the CPU."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def add_dtype_argument(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add ``--dtype``."""
    parser.add_argument(
        "--dtype",
        choices=(AUTO, *DTYPES),
        default=default,
        help="number format of the encoder; auto: bfloat16 if the processor or GPU has units for "
        "it, else float32; int8: 8-bit matrix products, on a CPU (default: %(default)s)",
    )


def add_graphs_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--cuda-graphs``, by default off."""
    parser.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="record the encoder's kernels and replay them together, for audio up to a minute; "
        "needs --device cuda; faster only if lengths repeat",
    )


def check_graphs_argument(args: argparse.Namespace) -> None:
    """Raise InputError if ``--cuda-graphs`` is given for a device other than CUDA."""
    if args.cuda_graphs:
        check_graphs(args.device, "--cuda-graphs")


def use_graphs(model: AcousticModel) -> GraphedEncoder:
    """Let ``model`` replay CUDA graphs of its encoder; return the counter of replays."""
    assert isinstance(model, AsrModel), "exported files run on the CPU, without graphs"
    return model.use_cuda_graphs()


def check_device(name: str) -> None:
    """Raise InputError unless PyTorch can compute on ``name``."""
    try:
        is_there = torch.device(name).type in ("cpu", "cuda", "mps")
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        is_there = False
    if not is_there:
        allowed = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(
            f"--device {name}: not available on this machine; allowed: {', '.join(allowed)}"
        )
