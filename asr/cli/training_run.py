"""A training run, from a composed config to a finished run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from asr.cli.run_folder import RunFolder
from asr.cli.run_summary import describe_run, describe_training, log
from asr.cli.training_setup import (
    data_counts,
    make_freezing,
    make_loader,
    num_encoder_frames,
    set_up,
)
from asr.data.manifest import Utterances
from asr.data.splits import Splits
from asr.decode.search import build_search
from asr.distributed import is_first
from asr.errors import InputError
from asr.files import write_text
from asr.measure.encoders import scheduled_layers
from asr.measure.evaluation import SplitEvaluation, evaluate
from asr.measure.latency import measure_encoders
from asr.model.asr_model import AsrModel
from asr.model.build import build
from asr.model.package import CARD, load_package, save_package
from asr.nn.chunks import ChunkContext
from asr.profiling.cost import count_parameters
from asr.profiling.hardware import describe_hardware, installed_versions, source_revision
from asr.profiling.latency import LatencySpec
from asr.report.card import model_card
from asr.report.hypotheses import read_hypotheses, write_hypotheses
from asr.report.learning import read_learning
from asr.report.record import RunRecord, SplitCounts, TrainingCost
from asr.train.failures import describe_batch
from asr.train.fit import FitResult, FitSettings, fit
from asr.train.trainer import TrainerSpec
from asr.types import SharedPieces


class Chunks(NamedTuple):
    """Chunks of live streams: their context, and their length in milliseconds as text."""

    length_ms: str
    context: ChunkContext


PROVISIONAL_CARD = "# Not evaluated yet\n"


def train_run(
    config: Mapping[str, Any],
    folder: RunFolder,
    *,
    command: str,
    resume: bool,
    with_latency: bool,
    allow_unknown: bool = False,
) -> RunRecord | None:
    """Train, package, evaluate and record one run; return its record.

    An interrupted run leaves checkpoints, a usable model package and a record of its state. If
    several processes train together, only the first does the rest; the others return None.

    Raises:
        InputError: the settings or data cannot work; raised before training.
    """
    setup = set_up(config, allow_unknown=allow_unknown)
    splits, utterances, text, model = setup.splits, setup.utterances, setup.text, setup.model
    trainer: TrainerSpec = build(config["train"]["trainer"], "train.trainer")
    log(describe_run(model, text.tokenizer, utterances, folder, setup.num_unalignable))
    largest_batch = next(setup.train_loader.largest_batches(), None)
    if largest_batch is not None:  # printed first, as the process may be killed for its memory
        log(f"largest batch, tried first: {describe_batch(largest_batch)}")
        num_samples = largest_batch.waveforms_BN.shape[1]
        longest_s = model.frontend.slowest_s(num_samples / model.frontend.sample_rate_hz)
        size = model.head.describe_loss(num_encoder_frames(model, longest_s), largest_batch)
        if size is not None:
            log(size)
    if is_first():
        folder.begin(config)
    settings = FitSettings(
        tokenizer=text.tokenizer,
        train_loader=setup.train_loader,
        dev_loader=(
            make_loader(config, utterances[splits.dev], text, model, training=False)
            if splits.dev
            else None
        ),
        optim=build(config["train"]["optim"], "train.optim"),
        trainer=trainer,
        averaging=build(config["train"]["averaging"], "train.averaging"),
        seed=config["seed"],
        decoder=build_search(config["decode"], model, text),
        distiller=setup.distiller,
        freezing=make_freezing(config),
        largest_batch=largest_batch,
    )
    result = fit(model, settings, run_dir=folder.path, resume=resume)
    if not is_first():
        return None
    save_package(
        folder.model, model=model, tokenizer=text.tokenizer, config=config, card=PROVISIONAL_CARD
    )
    evaluations: dict[str, SplitEvaluation] = {}
    if not result.interrupted:
        evaluations = evaluate_splits(folder, splits, utterances, trainer.device)
    record = make_record(
        config,
        folder,
        command=command,
        model=model,
        pieces=setup.pieces,
        result=result,
        data=data_counts(
            utterances,
            evaluations,
            splits,
            text,
            setup.num_unalignable,
            num_unreadable=result.num_unreadable,
            is_evaluated=not result.interrupted,
        ),
        evaluations=evaluations,
        device=trainer.device,
    )
    if with_latency and not result.interrupted:
        try:
            record = add_latency(record, trainer.device)
        except BaseException:
            save_record(folder, record)  # before timing, which may fail
            raise
    save_record(folder, record)
    assert record.training is not None
    log(describe_training(record.training, num_unreadable=result.num_unreadable))
    return record


def evaluate_splits(
    folder: RunFolder,
    splits: Splits,
    utterances: Mapping[str, Utterances],
    device: torch.device,
    exit: int | None = None,
    stream: Chunks | None = None,
) -> dict[str, SplitEvaluation]:
    """Score the test splits with the saved package, and write the hypotheses.

    With ``exit`` the encoder ends after that many layers; with ``stream`` recordings are decoded as
    live streams. A split without readable audio is logged and left out.
    """
    package = load_package(folder.model, device, exit=exit)
    search = build_search(package.config["decode"], package.model, package)
    evaluations = {}
    for split in splits.test:
        how = [
            *([] if exit is None else [f"exit {exit}"]),
            *([] if stream is None else [f"in chunks of {stream.length_ms} ms"]),
        ]
        log(", ".join([f"scoring {split}", *how]))
        context = None if stream is None else stream.context
        try:
            evaluations[split] = evaluate(package, utterances[split], search, stream=context)
        except InputError as error:
            log(f"{split} has no score: {error}")
            continue
        path = folder.hypotheses(split, exit, None if stream is None else stream.length_ms)
        path.parent.mkdir(exist_ok=True)
        write_hypotheses(evaluations[split].scored, path)
    return evaluations


def make_record(
    config: Mapping[str, Any],
    folder: RunFolder,
    *,
    command: str,
    model: AsrModel,
    pieces: SharedPieces | None,
    result: FitResult,
    data: dict[str, SplitCounts],
    evaluations: Mapping[str, SplitEvaluation],
    device: torch.device,
) -> RunRecord:
    """Make the record of the run, without the latency of its encoder."""
    spec: LatencySpec = build(config["metrics"]["latency"], "metrics.latency")
    return RunRecord(
        run=folder.name,
        reuse=model.encoder.reuse.name,
        command=command,
        config=dict(config),
        schedule=scheduled_layers(model.encoder),
        hardware=describe_hardware(
            device, spec.dtype, num_threads=spec.num_threads, cuda_graphs=spec.cuda_graphs
        ),
        versions=installed_versions(),
        revision=source_revision(),
        parameters=count_parameters(model),
        data=data,
        training=TrainingCost(
            train_s=result.train_s,
            cpu_s=result.cpu_s,
            num_steps=result.num_steps,
            num_epochs=result.num_epochs,
            data_wait_share=result.data_wait_share,
            interrupted=result.interrupted,
            num_skipped_steps=result.num_skipped,
            num_bad_sounds=result.num_bad_sounds,
            num_resumed=result.num_resumed,
        ),
        wer={split: evaluation.wer for split, evaluation in evaluations.items()},
        learning=read_learning(folder.metrics),
        pieces=pieces,
    )


def add_latency(record: RunRecord, device: torch.device) -> RunRecord:
    """Measure the encoder's latency on the training device; return the record with it."""
    spec: LatencySpec = build(record.config["metrics"]["latency"], "metrics.latency")
    configs = {record.run: record.config}
    cost = measure_encoders(configs, spec, device=device, report=log)[record.run]
    return replace(
        record,
        schedule=cost.schedule,
        macs=cost.macs,
        latency=cost.latency,
        breakdown=cost.breakdown,
    )


def save_record(folder: RunFolder, record: RunRecord) -> None:
    """Write the record, and the model card and report made from it."""
    record.save(folder.record)
    card = model_card(record)
    write_text(folder.model / CARD, card)
    write_text(folder.path / "report.md", card)
    examples = {
        split: read_hypotheses(path)
        for split in record.wer
        if (path := folder.hypotheses(split)).is_file()
    }
    from asr.report.pages.comparison import comparison_page

    write_text(folder.path / "report.html", comparison_page([record], examples=examples))
