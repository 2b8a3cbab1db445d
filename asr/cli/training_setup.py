"""Building the parts of a training run from its config: data, tokenizer, model, loader."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from asr.cli.parser import did_you_mean
from asr.cli.recipe import TO_TRAIN, check_keys_for, lookup
from asr.cli.run_summary import describe_pieces, describe_start, log
from asr.data.check import check_characters, count_unalignable, describe_dropped
from asr.data.loader import ResumableLoader
from asr.data.manifest import Utterances
from asr.data.splits import Splits
from asr.decode.search import build_search
from asr.errors import InputError
from asr.interop.hub import local_model
from asr.measure.evaluation import SplitEvaluation
from asr.measure.latency import check_timing_device
from asr.model.asr_model import AsrModel
from asr.model.build import (
    build,
    build_encoder,
    build_frontend,
    build_head,
    build_model,
    check_kind,
)
from asr.model.convert import initialise, share_pieces
from asr.model.package import ModelPackage, check_whole_outputs, load_package
from asr.ranges import Seed, check_value
from asr.report.record import SplitCounts
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer
from asr.train.distillation import Distillation, Distiller
from asr.train.freeze import Freezing
from asr.train.logs import check_loggers, make_callbacks
from asr.train.optim import AdamWSpec, parameter_groups
from asr.train.state import seed_all
from asr.train.trainer import TrainerSpec
from asr.types import SharedPieces

PLACES = {"folder": "folder of manifests", "train": "split"}


def check_run(config: Mapping[str, Any], recipe: Path) -> Splits:
    """Raise InputError for settings that cannot be trained; return the splits."""
    check_keys_for("train", TO_TRAIN, config, recipe)
    check_value(config["seed"], Seed, "seed")
    splits = splits_of(config)
    model = check_model(config)
    build_search(config["decode"], model)
    for key in ("text.normalize", "text.tokenizer"):
        build(lookup(config, key), key)
    trained: TrainerSpec = build(lookup(config, "train.trainer"), "train.trainer")
    check_timing_device(build(lookup(config, "metrics.latency"), "metrics.latency"), trained.device)
    build(lookup(config, "train.averaging"), "train.averaging")
    check_loggers(trained.loggers)
    make_callbacks(trained.callbacks)
    optim: AdamWSpec = build(lookup(config, "train.optim"), "train.optim")
    check_kind(optim, AdamWSpec, config["train"]["optim"], "train.optim")
    parameter_groups(model, optim.weight_decay, optim.parts)
    freezing = make_freezing(config)
    if freezing is not None:
        freezing.check(num_processes=trained.num_processes)
        freezing.of(model)
    if lookup(config, "train.distillation") is not None:
        build(lookup(config, "train.distillation"), "train.distillation")
    for key in AUGMENT:
        if lookup(config, f"data.{key}") is not None:
            build(lookup(config, f"data.{key}"), f"data.{key}")
    build(config["data"]["batching"], "data.batching", seed=config["seed"])
    return splits


def check_model(config: Mapping[str, Any]) -> AsrModel:
    """Build the model without weights, with two tokens; raise InputError if impossible."""
    frontend = build_frontend(config)
    with torch.device("meta"):
        encoder = build_encoder(config, frontend.num_mel_bins)
        head = build_head(config, encoder.d_model, 2)
    return AsrModel(frontend=frontend, encoder=encoder, head=head)


def splits_of(config: Mapping[str, Any]) -> Splits:
    """Return the splits of a config; a single test split may be given without brackets.

    Raises:
        InputError: a key is unknown or missing, or a split has no manifest.
    """
    given = config["splits"]
    keys = [field.name for field in fields(Splits)]
    if not isinstance(given, Mapping):
        raise InputError(f"splits={given}: allowed: a section with {', '.join(keys)}")
    for key in given:
        if key not in keys:
            hint = did_you_mean(key, keys) or f"; allowed: {', '.join(keys)}"
            raise InputError(f"unknown key splits.{key}{hint}")
    for key in ("folder", "train"):
        if not isinstance(given.get(key), str):
            raise InputError(f"splits.{key} must be set to the name of a {PLACES[key]}")
    test = given.get("test") or ()
    return Splits(
        folder=given["folder"],
        train=given["train"],
        dev=given.get("dev"),
        test=(test,) if isinstance(test, str) else tuple(map(str, test)),
    )


AUGMENT = ("reverb", "noise")
"""Parts of ``data`` that change audio in training, in this order."""


@dataclass(frozen=True, slots=True)
class TextSetup:
    """Normaliser and tokenizer of transcripts."""

    normalizer: TranscriptNormalizer
    tokenizer: Tokenizer


def make_normalizer(config: Mapping[str, Any]) -> TranscriptNormalizer:
    """Build the normaliser of transcripts."""
    normalizer: TranscriptNormalizer = build(config["text"]["normalize"], "text.normalize")
    return normalizer


def prepare_tokenizer(
    config: Mapping[str, Any],
    utterances: Mapping[str, Utterances],
    splits: Splits,
    parent: ModelPackage | None,
    *,
    normalizer: Callable[[str], str],
    allow_unknown: bool = False,
) -> Tokenizer:
    """Return the parent model's tokenizer, or train one on the training transcripts.

    If there is a parent, `TokenizerSpec.of_init` decides. The tokenizer must be able to write all
    transcripts of all splits; with ``allow_unknown``, exceptions are listed.
    """
    spec = build(config["text"]["tokenizer"], "text.tokenizer")
    tokenizer: Tokenizer = (
        spec.train(normalizer(utterance.text) for utterance in utterances[splits.train])
        if parent is None or not spec.of_init
        else parent.tokenizer
    )
    for split in splits.names:
        unknown = check_characters(
            utterances[split],
            tokenizer=tokenizer,
            normalizer=normalizer,
            allow_unknown=allow_unknown,
        )
        if unknown:
            log(f"{split}: {unknown}")
    return tokenizer


def make_loader(
    config: Mapping[str, Any],
    utterances: Utterances,
    text: TextSetup,
    model: AsrModel,
    *,
    training: bool,
) -> ResumableLoader:
    """Make batches of ``utterances`` by the config, for training or its validation.

    Each process of a distributed training reads its share.
    """
    data = config["data"]
    dataset = build(
        data["dataset"],
        "data.dataset",
        tokenizer=text.tokenizer,
        normalizer=text.normalizer,
        sample_rate_hz=model.frontend.sample_rate_hz,
        augment=[build(data[key], f"data.{key}") for key in AUGMENT if training and data.get(key)],
        seed=config["seed"],
    )
    slowing = {"slowest_s": model.frontend.slowest_s} if training else {}
    batching = build(data["batching"], "data.batching", seed=config["seed"], **slowing)
    loader: ResumableLoader = build(
        data["loader"],
        "data.loader",
        utterances=utterances,
        dataset=dataset,
        batching=batching,
        training=training,
        shared=not training,
    )
    return loader


def num_encoder_frames(model: AsrModel, duration_s: float) -> int:
    """Return the encoder frames of an utterance of ``duration_s`` seconds."""
    num_samples = round(duration_s * model.frontend.sample_rate_hz)
    num_features = int(model.frontend.fbank.num_frames(torch.tensor(num_samples)))
    return math.ceil(num_features / int(model.encoder.subsampling_factor))


def data_counts(
    utterances: Mapping[str, Utterances],
    evaluations: Mapping[str, SplitEvaluation],
    splits: Splits,
    text: TextSetup,
    num_unalignable: int,
    *,
    num_unreadable: int,
    is_evaluated: bool,
) -> dict[str, SplitCounts]:
    """Count every split's utterances, and those that could not be read or aligned.

    ``num_unreadable`` counts training utterances. With ``is_evaluated``, a test split without an
    evaluation is entirely unreadable.
    """
    skipped = {split: len(utterances[split]) for split in splits.test if is_evaluated}
    skipped |= {split: each.counts.num_skipped for split, each in evaluations.items()}
    skipped[splits.train] = num_unreadable
    return {
        split: SplitCounts(
            num_utterances=len(utterances[split]),
            hours=sum(utterance.duration_s for utterance in utterances[split]) / 3600,
            num_words=sum(
                len(text.normalizer(utterance.text).split()) for utterance in utterances[split]
            ),
            num_skipped=skipped.get(split, 0),
            num_left_out=num_unalignable if split == splits.train else 0,
        )
        for split in splits.names
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """The parts of a run; ``num_unalignable`` training utterances have no CTC alignment.

    ``pieces`` is None if there is no initial model, or it has the same vocabulary.
    """

    splits: Splits
    utterances: Mapping[str, Utterances]
    text: TextSetup
    model: AsrModel
    pieces: SharedPieces | None
    num_unalignable: int
    distiller: Distiller | None
    train_loader: ResumableLoader


def set_up(config: Mapping[str, Any], *, allow_unknown: bool = False) -> TrainingSetup:
    """Read the manifests, train or reuse the tokenizer, set the seed, and build the model.

    With ``allow_unknown``, transcripts may have characters that the tokenizer does not know.

    Raises:
        InputError: the settings or data cannot work.
    """
    splits = splits_of(config)
    utterances = {split: splits.read(split) for split in splits.names}
    parent = load_package(local_model(config["init"])) if config.get("init") else None
    if parent is not None:
        check_whole_outputs(parent.config, parent.folder, "init")
    normalizer = make_normalizer(config)
    for split, each in utterances.items():
        for line in describe_dropped(
            (utterance.text for utterance in each), split, events=normalizer.events_fate
        ):
            log(line)
    spelling = cache(normalizer)  # each transcript is normalised three times below
    tokenizer = prepare_tokenizer(
        config, utterances, splits, parent, normalizer=spelling, allow_unknown=allow_unknown
    )
    text = TextSetup(normalizer, tokenizer)
    seed_all(config["seed"])
    model = build_model(config, vocab_size=tokenizer.vocab_size)
    pieces = None
    if parent is not None:
        weights = parent.model.state_dict()
        if parent.tokenizer.to_bytes() != tokenizer.to_bytes():
            weights, pieces = share_pieces(
                model, weights, parent.tokenizer.vocabulary, tokenizer.vocabulary
            )
        log(describe_start(parent, model, initialise(model, weights)))
        if pieces is not None:
            log(describe_pieces(pieces))
    num_unalignable = 0
    if model.head.leaves_out_short:
        num_unalignable = count_unalignable(
            utterances[splits.train],
            tokenizer=tokenizer,
            normalizer=spelling,
            num_frames=partial(num_encoder_frames, model),
        )
    return TrainingSetup(
        splits=splits,
        utterances=utterances,
        text=text,
        model=model,
        pieces=pieces,
        num_unalignable=num_unalignable,
        distiller=make_distiller(config, model, text),
        train_loader=make_loader(config, utterances[splits.train], text, model, training=True),
    )


def make_freezing(config: Mapping[str, Any]) -> Freezing | None:
    """Make the freezing of a recipe that picks ``train/freeze``."""
    settings = config["train"].get("freeze")
    freezing: Freezing | None = build(settings, "train.freeze") if settings else None
    return freezing


def make_distiller(config: Mapping[str, Any], model: AsrModel, text: TextSetup) -> Distiller | None:
    """Make the distiller of a recipe that picks ``train/distillation`` and names a teacher."""
    settings = config["train"].get("distillation")
    if settings is None:
        return None
    distillation: Distillation = build(settings, "train.distillation")
    distiller = distillation.load(model, text.tokenizer, config["features"])
    if distiller is not None:
        log(f"teacher: {distillation.teacher}, weight {distillation.weight:g}")
    return distiller
