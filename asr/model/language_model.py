"""The package of a language model: the same files as a recogniser's, with other config groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from asr.errors import naming
from asr.lm.transformer import TransformerLm
from asr.model.build import SVD_SOFTMAX, build, check_groups, check_kind, shape_outputs
from asr.model.package import (
    CONFIG,
    ORIGIN,
    TOKENIZER,
    WEIGHTS,
    check_files,
    package_folder,
    read_config,
    write_package,
)
from asr.model.weights import load_model
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer

LM_GROUPS = ("text", "lm")


@dataclass(frozen=True, slots=True)
class LmPackage:
    """A loaded language model, in inference mode, with the tokenizer whose tokens it scores."""

    folder: Path
    config: dict[str, Any]
    model: TransformerLm
    tokenizer: Tokenizer
    normalizer: TranscriptNormalizer


def build_lm(config: Mapping[str, Any], vocab_size: int) -> TransformerLm:
    """Build the language model of the group ``lm``.

    Raises:
        InputError: see `build`.
    """
    check_groups(config, *LM_GROUPS)
    model: TransformerLm = build(config["lm"], "lm", vocab_size=vocab_size)
    check_kind(model, TransformerLm, config["lm"], "lm")
    shape_outputs(model, config)
    return model


def save_lm(
    folder: Path,
    *,
    model: TransformerLm,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    card: str,
) -> None:
    """Write the package atomically; ``config`` may be a whole run config."""
    kept = {group: config[group] for group in LM_GROUPS}
    kept |= {key: config[key] for key in (ORIGIN, SVD_SOFTMAX) if config.get(key)}
    write_package(folder, model=model, tokenizer=tokenizer, config=kept, card=card)


def load_lm(folder: Path, device: torch.device | str = "cpu") -> LmPackage:
    """Load a package with the same checks as a recogniser's; ``folder`` may be its run folder.

    Raises:
        InputError: see `asr.model.package.load_package`.
    """
    folder = package_folder(folder)
    check_files(folder)
    config = read_config(folder / CONFIG, LM_GROUPS)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    with naming(folder):
        check_groups(config, *LM_GROUPS)
        model = load_model(
            partial(build_lm, config, vocab_size=tokenizer.vocab_size),
            config["lm"].get("num_layers"),
            folder / WEIGHTS,
        )
        normalizer = build(config["text"].get("normalize"), "text.normalize")
    return LmPackage(
        folder=folder,
        config=config,
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        normalizer=normalizer,
    )
