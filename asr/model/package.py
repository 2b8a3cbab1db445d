"""The model package: the folder training leaves and every other command loads.

    model.safetensors   weights
    config.json         how the model is built (plain data), and the version of this format
    tokenizer.model     sentencepiece
    README.md           model card

Loading runs no code from the folder: no pickle, and only classes inside ``asr`` are built, and
those of plugins that the user names (`asr.model.plugins`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from asr.encoder.precision import compute_in
from asr.errors import InputError, naming
from asr.files import read_bytes, replacing, write_text
from asr.model.asr_model import AsrModel
from asr.model.build import EXIT, SVD_SOFTMAX, build, build_model, check_groups
from asr.model.plugins import PLUGINS, check_package
from asr.model.weights import load_model
from asr.ranges import shown
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer

WEIGHTS, CONFIG, TOKENIZER, CARD = (
    "model.safetensors",
    "config.json",
    "tokenizer.model",
    "README.md",
)
MAX_CONFIG_BYTES, MAX_CONFIG_DEPTH = 1 << 20, 32
FILES = (WEIGHTS, CONFIG, TOKENIZER)
RUN_MODEL, CHECKPOINTS, CHECKPOINT = "model", "checkpoints", ".ckpt"
"""The package and the checkpoints in a run folder, and how checkpoints are named."""
GROUPS = ("features", "text", "reuse", "encoder", "head", "decode")
SCHEMA, SCHEMA_VERSION = "schema", 1
"""Config key of the format's version; packages of the first versions lack it."""
ORIGIN, IMPORTED = "converted_from", "imported_from"
"""Config keys for the origin of a converted or imported model; other packages lack them."""


CONFIDENCE = "confidence"
"""Key of a config for temperatures of confidences, by the class of a search; others lack it."""


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A loaded package; ``model`` is in inference mode."""

    folder: Path
    config: dict[str, Any]
    model: AsrModel
    tokenizer: Tokenizer
    normalizer: TranscriptNormalizer


def save_package(
    folder: Path, *, model: AsrModel, tokenizer: Tokenizer, config: Mapping[str, Any], card: str
) -> None:
    """Write the package atomically; ``config`` may be a whole run config.

    The model's groups are stored, and ``ORIGIN``, ``IMPORTED``, ``PLUGINS`` and ``SVD_SOFTMAX`` if
    they are set. An existing package is replaced. Raises as :func:`asr.files.replacing` does.
    """
    kept = {group: config[group] for group in GROUPS}
    optional = ORIGIN, IMPORTED, PLUGINS, SVD_SOFTMAX
    kept |= {key: config[key] for key in optional if config.get(key)}
    write_package(folder, model=model, tokenizer=tokenizer, config=kept, card=card)


def write_package(
    folder: Path, *, model: nn.Module, tokenizer: Tokenizer, config: Mapping[str, Any], card: str
) -> None:
    """Write the four files of a package atomically; an existing package is replaced."""
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    with replacing(folder) as partial:
        partial.mkdir()
        (partial / WEIGHTS).write_bytes(save(weights))
        _write_config(partial, config)
        tokenizer.save(partial / TOKENIZER)
        (partial / CARD).write_text(card, encoding="utf-8")


def write_temperature(folder: Path, search: str, temperature: float) -> None:
    """Put the temperature of the confidences of ``search`` into the config of a package.

    Raises:
        InputError: see `read_config`; or as `asr.files.replacing` does.
    """
    config = read_config(folder / CONFIG)
    config[CONFIDENCE] = {**config.get(CONFIDENCE, {}), search: temperature}
    _write_config(folder, config)


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    content = json.dumps({SCHEMA: SCHEMA_VERSION, **config}, indent=2)
    write_text(folder / CONFIG, content + "\n")


def load_package(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: str = "float32",
    *,
    exit: int | None = None,
) -> ModelPackage:
    """Load a package for inference; its encoder computes in ``dtype``, one of `DTYPES`.

    ``folder`` is what `package_folder` takes. With ``exit`` the encoder ends after that many
    layers, which ``config`` records under `EXIT`. Sizes are checked before memory is allocated: of
    every file, and of the model against its weights.

    Raises:
        InputError: no such folder, a file missing, damaged or too large, weights that do not fit
            the config, a plugin that is not named, or an exit that the head was not trained for.
    """
    folder = package_folder(folder)
    check_files(folder)
    config = read_config(folder / CONFIG)
    check_package(config, folder)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    with naming(folder):
        check_groups(config, "text", "encoder")
        model = load_model(
            partial(build_model, config, vocab_size=tokenizer.vocab_size),
            config["encoder"].get("num_layers"),
            folder / WEIGHTS,
        )
        normalizer = build(config["text"].get("normalize"), "text.normalize")
    if exit is not None:
        model.exit_at(exit)
        config[EXIT] = exit
    model.to(device).eval()
    compute_in(model.encoder, dtype)
    return ModelPackage(
        folder=folder, config=config, model=model, tokenizer=tokenizer, normalizer=normalizer
    )


def check_whole_outputs(config: Mapping[str, Any], folder: Path, use: str) -> None:
    """Raise InputError if a package has SVD-softmax, which ``use`` does not support."""
    if config.get(SVD_SOFTMAX):
        origin = (config.get(ORIGIN) or {}).get("model", "another model")
        raise InputError(
            f"{use}: {folder} has SVD-softmax, whose output layers are decomposed for inference; "
            f"use {origin}, the original model"
        )


def package_folder(path: Path) -> Path:
    """Return the package folder for ``path``.

    A run folder, a checkpoint in it, or a file of a package stands for the package there; any other
    path stands for itself.

    Raises:
        InputError: a run without a package, or a checkpoint outside a run folder.
    """
    if path.suffix == CHECKPOINT:
        near = path if path.parent.name == CHECKPOINTS else path.absolute()
        run = near.parent.parent
        if near.parent.name != CHECKPOINTS or not (run / RUN_MODEL).is_dir():
            raise _no_package(path, run)
        return run / RUN_MODEL
    if path.name in FILES and path.is_file():
        return path.parent
    if (path / WEIGHTS).exists() or not (path / CHECKPOINTS).is_dir():
        return path / RUN_MODEL if (path / RUN_MODEL / WEIGHTS).is_file() else path
    if not (path / RUN_MODEL).is_dir():
        raise _no_package(path, path)
    return path / RUN_MODEL


def _no_package(path: Path, run: Path) -> InputError:
    """Return the error for a path with only a checkpoint, with the command to type."""
    if not (run / CHECKPOINTS / f"last{CHECKPOINT}").is_file():
        return InputError(
            f"{path}: a checkpoint alone is no model; name the {RUN_MODEL} folder that its run left"
        )
    return InputError(
        f"{path}: the run has left no {RUN_MODEL} folder yet, and a checkpoint alone is no model; "
        f"`asr train --resume {shlex.quote(str(run))}` finishes it, and Ctrl-C there leaves the "
        "model so far"
    )


def check_files(folder: Path) -> None:
    """Raise InputError unless ``folder`` holds every file that a package needs."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such model folder; it must hold {', '.join(FILES)} (a run folder that "
            "holds one will do)"
        )
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise InputError(
            f"{folder}: {', '.join(missing)} missing; a model folder holds {', '.join(FILES)}"
        )


def read_config(path: Path, groups: Sequence[str] = GROUPS) -> dict[str, Any]:
    """Return the package's config, with all of ``groups`` and without its schema version.

    Raises:
        InputError: not JSON, or a group is missing.
    """
    content = read_bytes(path, most=MAX_CONFIG_BYTES)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a JSON config ({error})") from None
    return parse_config(text, str(path), groups)


def parse_config(text: str, where: str, groups: Sequence[str] = GROUPS) -> dict[str, Any]:
    """Parse a config from JSON; errors name its place ``where``.

    Raises:
        InputError: see `read_config`.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:  # also an integer of thousands of digits
        raise InputError(f"{where}: not a JSON config ({error})") from None
    if depth(config) > MAX_CONFIG_DEPTH:
        raise InputError(f"{where}: nested more than {MAX_CONFIG_DEPTH} deep")
    if isinstance(config, dict):
        check_schema(config.pop(SCHEMA, SCHEMA_VERSION), where)
    missing = [group for group in groups if not isinstance(config, dict) or group not in config]
    if missing:
        other = isinstance(config, dict) and ("lm" in config or "encoder" in config)
        kind = "a language model" if other and "lm" in config else "a recogniser"
        hint = f" (this is the config of {kind})" if other else ""
        raise InputError(f"{where}: lacks {', '.join(missing)}{hint}; needed: {', '.join(groups)}")
    return dict(config)


def check_schema(version: object, where: str) -> None:
    """Raise InputError for a version that this code cannot read."""
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"{where}: {SCHEMA}={shown(version)}; allowed: 1 to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{where}: of schema {shown(version)}, made by a newer version of encore-asr than this "
            f"one, which reads up to {SCHEMA_VERSION}; upgrade encore-asr to load it"
        )


def depth(value: object) -> int:
    """Return how deeply lists and objects of parsed JSON are nested."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, level = waiting.pop()
        if isinstance(one, Mapping | list):
            deepest = max(deepest, level)
            inside = one.values() if isinstance(one, Mapping) else one
            waiting += [(item, level + 1) for item in inside]
    return deepest
