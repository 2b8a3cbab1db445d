"""What a run reads: manifests, spelling and tokens, batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from asr.cli.run_summary import say
from asr.data.characters import check_characters
from asr.data.loader import ResumableLoader
from asr.data.manifest import Cuts, transcript
from asr.data.splits import Splits
from asr.model.asr_model import AsrModel
from asr.model.build import build
from asr.model.package import ModelPackage
from asr.report.evaluation import SplitEvaluation
from asr.report.record import SplitCounts
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer

AUGMENT = ("reverb", "noise")
"""What a recipe may pick from ``data`` to change audio in training, in this order."""


@dataclass(frozen=True, slots=True)
class TextSetup:
    """How transcripts are spelled and cut into tokens."""

    normalizer: TranscriptNormalizer
    tokenizer: Tokenizer


def make_normalizer(config: Mapping[str, Any]) -> TranscriptNormalizer:
    """How the config wants transcripts spelled."""
    normalizer: TranscriptNormalizer = build(config["text"]["normalize"], "text.normalize")
    return normalizer


def prepare_tokenizer(
    config: Mapping[str, Any],
    cuts: Mapping[str, Cuts],
    splits: Splits,
    parent: ModelPackage | None,
    *,
    normalizer: Callable[[str], str],
    allow_unknown: bool = False,
) -> Tokenizer:
    """The tokenizer of the parent model, or one trained on the training transcripts.

    Every transcript of every split must be spelt with it; with ``allow_unknown`` those that are not
    are named.
    """
    spec = build(config["text"]["tokenizer"], "text.tokenizer")
    tokenizer: Tokenizer = (
        spec.train(normalizer(transcript(cut)) for cut in cuts[splits.train])
        if parent is None
        else parent.tokenizer
    )
    for split in splits.names:
        unknown = check_characters(
            cuts[split], tokenizer=tokenizer, normalizer=normalizer, allow_unknown=allow_unknown
        )
        if unknown:
            say(f"{split}: {unknown}")
    return tokenizer


def make_loader(
    config: Mapping[str, Any], cuts: Cuts, text: TextSetup, model: AsrModel, *, training: bool
) -> ResumableLoader:
    """Batches of ``cuts`` as the config wants them, for training or its validation.

    Each of the processes that train together reads its share of them.
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
        cuts=cuts,
        dataset=dataset,
        batching=batching,
        training=training,
        shared=not training,
    )
    return loader


def num_encoder_frames(model: AsrModel, duration_s: float) -> int:
    """Encoder frames of an utterance of ``duration_s`` seconds."""
    num_samples = round(duration_s * model.frontend.sample_rate_hz)
    num_features = int(model.frontend.fbank.num_frames(torch.tensor(num_samples)))
    return math.ceil(num_features / int(model.encoder.subsampling_factor))


def data_counts(
    cuts: Mapping[str, Cuts],
    evaluations: Mapping[str, SplitEvaluation],
    splits: Splits,
    text: TextSetup,
    num_unalignable: int,
    *,
    num_unreadable: int,
    is_evaluated: bool,
) -> dict[str, SplitCounts]:
    """What every split holds, and what could not be read or aligned.

    ``num_unreadable`` counts training utterances. Of a test split that ``is_evaluated`` but has no
    evaluation, nothing could be read.
    """
    skipped = {split: len(cuts[split]) for split in splits.test if is_evaluated}
    skipped |= {split: each.counts.num_skipped for split, each in evaluations.items()}
    skipped[splits.train] = num_unreadable
    return {
        split: SplitCounts(
            num_utterances=len(cuts[split]),
            hours=sum(cut.duration for cut in cuts[split]) / 3600,
            num_words=sum(len(text.normalizer(transcript(cut)).split()) for cut in cuts[split]),
            num_skipped=skipped.get(split, 0),
            num_left_out=num_unalignable if split == splits.train else 0,
        )
        for split in splits.names
    }
