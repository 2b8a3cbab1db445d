"""The weights of a package: a safetensors file, checked against the config before it is read.

A stranger's file may claim any size. Its header is read first, up to a size limit; then the model
of the config is built without memory (on torch's ``meta`` device) and compared with the header,
name by name and shape by shape. The model is built only if all its weights are there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from asr.errors import InputError
from asr.files import open_file

MAX_HEADER_BYTES = 8 << 20  # of a safetensors file: about 60,000 tensors
Shapes = dict[str, tuple[int, ...]]
Model = TypeVar("Model", bound=torch.nn.Module)


def load_model(build: Callable[[], Model], num_layers: object, path: Path) -> Model:
    """Build the model with ``build`` and load the weights of ``path``.

    ``num_layers`` is the depth that its config states.

    Raises:
        InputError: a damaged file, weights of another model, or more than fits in memory; or
            what ``build`` raises.
    """
    stored = read_shapes(path)
    if isinstance(num_layers, int) and num_layers > len(stored):
        raise InputError(
            f"{path}: weights do not fit config.json: {len(stored)} tensors for "
            f"encoder.num_layers={num_layers}"
        )
    with torch.device("meta"):
        expected = shapes_of(build())
    check_fit(expected, stored, path)
    check_memory(expected, path)
    model = build()
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: the weights cannot be read ({error})") from None
    return model


def read_shapes(path: Path) -> Shapes:
    """Return the shapes of a complete safetensors file, without reading values.

    Raises:
        InputError: not such a file, or a header above `MAX_HEADER_BYTES`.
    """
    with open_file(path) as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        file_bytes = os.fstat(file.fileno()).st_size
    if MAX_HEADER_BYTES < header_bytes <= file_bytes - 8:
        raise InputError(
            f"{path}: its list of tensors takes {header_bytes:,} bytes; allowed: up to "
            f"{MAX_HEADER_BYTES:,}"
        )
    try:
        with safe_open(path, "pt") as weights:
            slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
            odd = [name for name, one in slices.items() if one.get_dtype() not in _DTYPES]
            shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None
    if odd:
        raise InputError(f"{path}: {odd[0]} is of a type that no weights have")
    return shapes


def read_tensor(path: Path, name: str) -> torch.Tensor:
    """Return one tensor of a safetensors file."""
    with safe_open(path, "pt") as weights:
        tensor: torch.Tensor = weights.get_tensor(name)
    return tensor


def to_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return a safetensors file with the PyTorch mark that other libraries expect."""
    content: bytes = save(dict(tensors), {"format": "pt"})
    return content


_DTYPES = ("F64", "F32", "F16", "BF16", "I64")


def shapes_of(model: torch.nn.Module) -> Shapes:
    """Return the shapes of the tensors that a model stores."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_fit(expected: Shapes, stored: Shapes, path: Path) -> None:
    """Raise InputError unless the ``stored`` tensors are those of the model."""
    if expected != stored:
        odd = sorted(
            name
            for name in expected.keys() | stored.keys()
            if expected.get(name) != stored.get(name)
        )
        raise InputError(
            f"{path}: weights do not fit config.json: {len(odd)} tensors differ, first {odd[0]}"
        )


def check_memory(shapes: Shapes, what: object) -> None:
    """Raise InputError if a model of these tensors, in float32, does not fit in memory."""
    needed_bytes = 4 * sum(map(math.prod, shapes.values()))
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed_bytes > memory_bytes / 2:  # it exists twice while it is loaded
        raise InputError(
            f"{what}: a model of {needed_bytes / 2**30:,.1f} GiB; allowed: half the memory of this "
            f"machine, {memory_bytes / 2**31:,.1f} GiB"
        )
