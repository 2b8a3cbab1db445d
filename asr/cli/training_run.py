"""From a composed config to a finished run folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from asr.cli.run_check import read_splits
from asr.cli.run_data import (
    TextSetup,
    data_counts,
    make_loader,
    num_encoder_frames,
    prepare_text,
)
from asr.cli.run_folder import RunFolder
from asr.cli.run_summary import describe_run, describe_start, say
from asr.data.alignable import count_unalignable
from asr.data.manifest import Cuts
from asr.data.splits import Splits
from asr.decode.greedy import GreedyDecoder
from asr.metrics.cost import count_parameters
from asr.metrics.latency import LatencySpec
from asr.model.asr_model import AsrModel
from asr.model.build import build, build_model
from asr.model.initialise import initialise
from asr.model.package import CARD, load_package, save_package
from asr.report.bench import measure_encoders, scheduled_layers
from asr.report.card import model_card
from asr.report.evaluation import SplitEvaluation, evaluate
from asr.report.hardware import describe_hardware
from asr.report.hypotheses import write_hypotheses
from asr.report.provenance import installed_versions, source_revision
from asr.report.record import RunRecord, SplitCounts, TrainingCost
from asr.train.distillation import Distillation, Distiller
from asr.train.fit import FitResult, fit
from asr.train.random_state import seed_all

PROVISIONAL_CARD = "# Not evaluated yet\n"


def train_run(
    config: Mapping[str, Any],
    folder: RunFolder,
    *,
    command: str,
    resume: bool,
    with_latency: bool,
) -> RunRecord:
    """Train, package, evaluate and record one run; returns its record.

    An interrupted run leaves checkpoints, a usable model package and a record that says so.

    Raises:
        InputError: settings or data that cannot work, before anything is trained.
    """
    splits = read_splits(config)
    cuts = {split: splits.read(split) for split in splits.names}
    parent = load_package(Path(config["init"])) if config.get("init") else None
    text = prepare_text(config, cuts, splits, parent)
    seed_all(config["seed"])
    model = build_model(config, vocab_size=text.tokenizer.vocab_size)
    if parent is not None:
        say(describe_start(parent, model, initialise(model, parent.model.state_dict())))
    num_unalignable = count_unalignable(
        cuts[splits.train],
        tokenizer=text.tokenizer,
        normalizer=text.normalizer,
        num_frames=partial(num_encoder_frames, model),
    )
    distiller = make_distiller(config, model, text)
    decoder: GreedyDecoder = build(config["decode"], "decode")
    train_loader = make_loader(config, cuts[splits.train], text, model, training=True)
    say(describe_run(model, text.tokenizer, cuts, folder, num_unalignable))
    folder.save_config(config)
    result = fit(
        model,
        tokenizer=text.tokenizer,
        train_loader=train_loader,
        dev_loader=(
            make_loader(config, cuts[splits.dev], text, model, training=False)
            if splits.dev
            else None
        ),
        optim=build(config["train"]["optim"], "train.optim"),
        trainer=build(config["train"]["trainer"], "train.trainer"),
        averaging=build(config["train"]["averaging"], "train.averaging"),
        run_dir=folder.path,
        resume=resume,
        seed=config["seed"],
        decoder=decoder,
        distiller=distiller,
    )
    save_package(
        folder.model, model=model, tokenizer=text.tokenizer, config=config, card=PROVISIONAL_CARD
    )
    evaluations = {} if result.interrupted else evaluate_splits(folder, splits, cuts, decoder)
    record = make_record(
        config,
        folder,
        command=command,
        model=model,
        result=result,
        data=data_counts(
            cuts, evaluations, splits, text, num_unalignable, train_loader.num_skipped
        ),
        evaluations=evaluations,
        with_latency=with_latency and not result.interrupted,
    )
    save_record(folder, record)
    return record


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


def evaluate_splits(
    folder: RunFolder, splits: Splits, cuts: Mapping[str, Cuts], decoder: GreedyDecoder
) -> dict[str, SplitEvaluation]:
    """Score the test splits with the package as it was saved, and write the hypotheses."""
    package = load_package(folder.model, "cuda" if torch.cuda.is_available() else "cpu")
    evaluations = {}
    for split in splits.test:
        say(f"scoring {split}")
        evaluations[split] = evaluate(package, cuts[split], decoder)
        path = folder.hypotheses(split)
        path.parent.mkdir(exist_ok=True)
        write_hypotheses(evaluations[split].scored, path)
    return evaluations


def make_record(
    config: Mapping[str, Any],
    folder: RunFolder,
    *,
    command: str,
    model: AsrModel,
    result: FitResult,
    data: dict[str, SplitCounts],
    evaluations: Mapping[str, SplitEvaluation],
    with_latency: bool,
) -> RunRecord:
    """Everything known about the run, encoder latency measured here if wanted."""
    spec: LatencySpec = build(config["metrics"]["latency"], "metrics.latency")
    cost = (
        measure_encoders({folder.name: config}, spec, report=say)[folder.name]
        if with_latency
        else None
    )
    return RunRecord(
        run=folder.name,
        reuse=model.encoder.reuse.name,
        command=command,
        config=dict(config),
        schedule=cost.schedule if cost else scheduled_layers(model.encoder),
        hardware=describe_hardware(num_threads=spec.num_threads),
        versions=installed_versions(),
        revision=source_revision(),
        parameters=count_parameters(model),
        macs=cost.macs if cost else {},
        data=data,
        training=TrainingCost(
            train_s=result.train_s,
            cpu_s=result.cpu_s,
            num_steps=result.num_steps,
            num_epochs=result.num_epochs,
            data_wait_share=result.data_wait_share,
            interrupted=result.interrupted,
        ),
        wer={split: evaluation.wer for split, evaluation in evaluations.items()},
        latency=cost.latency if cost else (),
        breakdown=cost.breakdown if cost else {},
    )


def save_record(folder: RunFolder, record: RunRecord) -> None:
    """Write the record, and the model card and report that are made from it."""
    record.save(folder.record)
    card = model_card(record)
    (folder.model / CARD).write_text(card, encoding="utf-8")
    (folder.path / "report.md").write_text(card, encoding="utf-8")
