"""What a run trains, on what: everything that is built from a config before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from asr.cli.run_check import read_splits
from asr.cli.run_data import (
    TextSetup,
    make_loader,
    make_normalizer,
    num_encoder_frames,
    prepare_tokenizer,
)
from asr.cli.run_summary import describe_start, say
from asr.data.alignable import count_unalignable
from asr.data.characters import describe_dropped
from asr.data.loader import ResumableLoader
from asr.data.manifest import Cuts, transcript
from asr.data.splits import Splits
from asr.model.asr_model import AsrModel
from asr.model.build import build, build_model
from asr.model.initialise import initialise
from asr.model.package import load_package
from asr.train.distillation import Distillation, Distiller
from asr.train.random_state import seed_all


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """The parts of a run. ``num_unalignable`` training utterances have no CTC alignment."""

    splits: Splits
    cuts: Mapping[str, Cuts]
    text: TextSetup
    model: AsrModel
    num_unalignable: int
    distiller: Distiller | None
    train_loader: ResumableLoader


def set_up(config: Mapping[str, Any], *, allow_unknown: bool = False) -> TrainingSetup:
    """Read the manifests, train or take over the tokenizer, seed, and build the model.

    With ``allow_unknown`` transcripts may have characters that the tokenizer does not know.

    Raises:
        InputError: settings or data that cannot work.
    """
    splits = read_splits(config)
    cuts = {split: splits.read(split) for split in splits.names}
    parent = load_package(Path(config["init"])) if config.get("init") else None
    normalizer = make_normalizer(config)
    for split, each in cuts.items():
        for line in describe_dropped(map(transcript, each), split, events=normalizer.events_fate):
            say(line)
    spelling = cache(normalizer)  # each transcript is gone through three times from here on
    tokenizer = prepare_tokenizer(
        config, cuts, splits, parent, normalizer=spelling, allow_unknown=allow_unknown
    )
    text = TextSetup(normalizer, tokenizer)
    seed_all(config["seed"])
    model = build_model(config, vocab_size=tokenizer.vocab_size)
    if parent is not None:
        say(describe_start(parent, model, initialise(model, parent.model.state_dict())))
    num_unalignable = count_unalignable(
        cuts[splits.train],
        tokenizer=tokenizer,
        normalizer=spelling,
        num_frames=partial(num_encoder_frames, model),
    )
    return TrainingSetup(
        splits=splits,
        cuts=cuts,
        text=text,
        model=model,
        num_unalignable=num_unalignable,
        distiller=make_distiller(config, model, text),
        train_loader=make_loader(config, cuts[splits.train], text, model, training=True),
    )


def make_distiller(config: Mapping[str, Any], model: AsrModel, text: TextSetup) -> Distiller | None:
    """The teacher of a run whose recipe picks ``train/distillation`` and names one."""
    settings = config["train"].get("distillation")
    if settings is None:
        return None
    distillation: Distillation = build(settings, "train.distillation")
    distiller = distillation.load(model, text.tokenizer, config["features"])
    if distiller is not None:
        say(f"teacher: {distillation.teacher}, weight {distillation.weight:g}")
    return distiller
