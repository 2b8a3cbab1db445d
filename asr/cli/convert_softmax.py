"""`asr convert --svd-softmax`: decompose the large output layers of a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from asr.cli.lm import sentences
from asr.cli.run_summary import log
from asr.data.manifest import read_manifest
from asr.data.splits import evenly_spaced, no_longer_than
from asr.errors import InputError
from asr.head.base import Head
from asr.lm.transformer import TransformerLm
from asr.measure.calibration import MAX_UTTERANCE_S, CalibrationBatches
from asr.measure.svd_softmax import agreement, pays_from, time_layers
from asr.model.build import SVD_SOFTMAX, build_inside
from asr.model.language_model import LmPackage, load_lm, save_lm
from asr.model.package import (
    CONFIG,
    ORIGIN,
    ModelPackage,
    check_files,
    check_whole_outputs,
    load_package,
    package_folder,
    read_config,
    save_package,
)
from asr.nn.svd_softmax import SvdLinear, SvdSoftmax, decompose_outputs
from asr.ranges import shown

MOST_STATES = 2000
KEYS = "preview_width", "refined_words"
PREVIEW_SHARE = 8
"""By default the preview width is the width divided by this."""


@dataclass(frozen=True, slots=True)
class Layer:
    """An output layer, its decomposition, and the vocabulary size from which that is faster here.

    ``num_states`` is the number of hidden states in each timed call.
    """

    name: str
    linear: nn.Linear
    spec: SvdSoftmax
    num_states: int
    pays_from: int | None

    @property
    def pays(self) -> bool:
        """Whether the decomposed layer is faster."""
        return self.pays_from is not None and self.linear.out_features >= self.pays_from

    def __str__(self) -> str:
        paying = "at no size" if self.pays_from is None else f"from {self.pays_from:,} words on"
        return (
            f"{self.name} has {self.linear.out_features:,} words; SVD-softmax of width "
            f"{self.linear.in_features}, preview_width {self.spec.preview_width} and refined_words "
            f"{self.spec.refined_words:,}, for {self.num_states} hidden states at once, is faster "
            f"{paying} on this machine"
        )


def run_svd_softmax(args: argparse.Namespace, origin: Mapping[str, Any]) -> int:
    """Time, decompose, compare on data if given, and write a package.

    Raises:
        InputError: no output layer is large enough, or the keys do not fit it.
    """
    if args.overrides:
        raise InputError(
            f"{args.overrides[0]}: --svd-softmax changes only output layers; convert the schedule "
            "first, then the converted model"
        )
    folder = package_folder(args.model)
    check_files(folder)
    is_lm = "lm" in read_config(folder / CONFIG, ())
    package: LmPackage | ModelPackage = load_lm(folder) if is_lm else load_package(folder)
    check_whole_outputs(package.config, folder, "asr convert")
    part = package.model if isinstance(package, LmPackage) else package.model.head
    layers = read_layers(part, given_keys(args.svd_softmax), folder)
    kept = [layer for layer in layers if layer.pays]
    if not kept:
        raise InputError(f"--svd-softmax: {'; '.join(map(str, layers))}")
    for layer in layers:
        log(str(layer) + ("" if layer.pays else ": not decomposed"))
    spec = replace(kept[0].spec, outputs=[layer.name for layer in kept])
    decompose_outputs(part, spec)
    for layer in kept:
        decomposed = part.get_submodule(layer.name)
        assert isinstance(decomposed, SvdLinear)
        whole = layer.linear.in_features * layer.linear.out_features
        print(
            f"{layer.name}: {100 * decomposed.multiply_adds() / whole:.1f} % of the multiply-adds"
        )
        if args.data:
            hidden_ND = hidden_states(package, layer.name, args)
            print(f"{layer.name}: {agreement(layer.linear, decomposed, hidden_ND)}")
    config = {
        **package.config,
        SVD_SOFTMAX: asdict(spec),
        ORIGIN: {**origin, "heads_aligned_on": None},
    }
    text = card(args.command, args.model, kept)
    tokenizer = package.tokenizer
    if isinstance(package, LmPackage):
        save_lm(args.out, model=package.model, tokenizer=tokenizer, config=config, card=text)
    else:
        save_package(args.out, model=package.model, tokenizer=tokenizer, config=config, card=text)
    log(f"model: {args.out}; for inference only; to train further, use {args.model}")
    return 0


def given_keys(text: str) -> dict[str, Any]:
    """Read keys such as ``preview_width=64,refined_words=2048``."""
    found: dict[str, Any] = {}
    for change in filter(None, text.split(",")):
        key, equals, value = change.partition("=")
        if not equals or key not in KEYS:
            raise InputError(
                f"--svd-softmax {shown(change)}: allowed: KEY=VALUE, with keys {', '.join(KEYS)}"
            )
        found[key] = yaml.safe_load(value)
    return found


def read_layers(part: Head | TransformerLm, keys: Mapping[str, Any], folder: Path) -> list[Layer]:
    """Time the output layers of a head or language model on this machine."""
    found = []
    for name, num_states in part.output_layers.items():
        linear = part.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        width = linear.in_features
        values = {"outputs": [name], "preview_width": max(1, width // PREVIEW_SHARE), **keys}
        spec: SvdSoftmax = build_inside(values, SvdSoftmax, "svd_softmax")
        with torch.device("meta"):
            SvdLinear(width, max(linear.out_features, spec.refined_words), spec)
        times = time_layers(width, spec, num_states=num_states)
        found.append(Layer(name, linear, spec, num_states, pays_from(times)))
    if not found:
        assert isinstance(part, Head)
        raise InputError(
            f"--svd-softmax: {folder} has a {part.name} head, which scores all words for every "
            "pair of a frame and a token; allowed: ctc, hybrid, and language models"
        )
    return found


@torch.inference_mode()
def hidden_states(package: LmPackage | ModelPackage, name: str, args: argparse.Namespace) -> Tensor:
    """Return the output layer's inputs (N, D) on ``--data``, at most `MOST_STATES`.

    Raises:
        InputError: ``--data``, a text or a manifest, has nothing readable.
    """
    found: list[Tensor] = []
    if isinstance(package, LmPackage):
        lines = (line for (line,) in sentences(args.data, lambda text: (package.normalizer(text),)))
        for line in islice(lines, args.limit):
            ids_1U = torch.tensor([package.tokenizer.encode(line)])
            found.append(package.model.hidden(ids_1U, torch.tensor([ids_1U.shape[1]]))[0])
            if sum(map(len, found)) >= MOST_STATES:
                break
        if not found:
            raise InputError(f"{args.data}: no sentence")
        return torch.cat(found)[:MOST_STATES]
    utterances = no_longer_than(read_manifest(args.data), MAX_UTTERANCE_S)
    utterances = evenly_spaced(utterances, args.limit) if args.limit else utterances
    head, layer = package.model.head, package.model.head.get_submodule(name)
    hook = layer.register_forward_pre_hook(lambda _, given: found.append(given[0].flatten(0, -2)))
    try:
        for batch in CalibrationBatches.read(package, utterances).batches:
            rows = zip(batch.lengths_B.tolist(), batch.token_lengths_B.tolist(), strict=True)
            for row, (num_frames, num_tokens) in enumerate(rows):  # one at a time: no padding
                one = slice(row, row + 1)
                encoded = package.model.encoder(
                    batch.features_BTF[one, :num_frames], batch.lengths_B[one]
                )
                head.utterance_losses(
                    head(encoded.frames_BTD),
                    encoded.lengths_B,
                    batch.token_ids_BU[one, :num_tokens],
                    batch.token_lengths_B[one],
                )
            if sum(map(len, found)) >= MOST_STATES:
                break
    finally:
        hook.remove()
    return torch.cat(found)[:MOST_STATES]


def card(command: str, model: Path, layers: list[Layer]) -> str:
    """Write the README of the new package."""
    return "\n".join(
        [
            f"# {model} with SVD-softmax",
            "",
            f"`{command}`: output layers are decomposed (Shim et al. 2017). Their best words have",
            "exact scores, all others approximate ones. For inference only.",
            "",
            *(f"    {layer}" for layer in layers),
            "",
        ]
    )
