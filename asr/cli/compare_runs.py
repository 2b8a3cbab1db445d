"""The work of `asr compare`: train what is missing, time all encoders together, one table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from asr.cli.bench import latency_spec
from asr.cli.compare_streams import compared_chunks, score_streams, time_streams
from asr.cli.compose import compose_recipe, expand_sweep
from asr.cli.effects import check_effects, effective_overrides, with_tokenizer_of_init
from asr.cli.exits import Exit
from asr.cli.launch import Launcher, LocalLauncher, train_all
from asr.cli.launch_submitit import SubmititLauncher, parse_launcher_options
from asr.cli.output import check_outputs, exit_code, print_table
from asr.cli.override import variant_names
from asr.cli.parent import ended_like_ctrl_c
from asr.cli.run_folder import RunFolder, default_run_folder
from asr.cli.run_lock import check_free
from asr.cli.run_summary import log
from asr.cli.training_job import TrainProcess
from asr.cli.training_run import Chunks, evaluate_splits, save_record
from asr.cli.training_setup import check_model, check_run, splits_of
from asr.errors import InputError
from asr.files import check_folder
from asr.measure.latency import measure_encoders
from asr.model.build import EXIT, build
from asr.model.package import load_package
from asr.profiling.cost import count_parameters
from asr.profiling.hardware import describe_hardware, num_cores
from asr.report.hypotheses import (
    ScoredUtterance,
    WerDifference,
    corrected,
    read_hypotheses,
    wer_difference,
)
from asr.report.record import RunRecord
from asr.report.rows import SeedGroup, by_seed
from asr.train.trainer import TrainerSpec


def compare_schedules(args: argparse.Namespace) -> int:
    """Train the missing runs, time all encoders in one process, print one table."""
    check_outputs(args)
    variants = expand_sweep(args.overrides)
    names = variant_names(variants)
    overrides = dict(zip(names, variants, strict=True))
    configs = {name: compose_recipe(args.recipe, overrides[name]) for name in names}
    check_effects({name: (overrides[name], configs[name]) for name in names})
    for name in names:  # settings that have an effect only in other variants
        overrides[name] = effective_overrides(overrides[name], configs[name])
        configs[name] = with_tokenizer_of_init(compose_recipe(args.recipe, overrides[name]))
    for number in args.exit:
        for config in configs.values():
            check_model(config).check_exit(number)
    chunks = compared_chunks(args.stream, configs)
    folders = {name: run_folder(config, args.recipe) for name, config in configs.items()}
    check_distinct(folders)
    pending = [name for name in names if folders[name].finished_record() is None]
    for name in pending:
        check_free(folders[name].path)
    launcher = make_launcher(args, len(pending)) if pending else None
    for name in names:
        state = "to train" if name in pending else "trained already"
        log(f"{name}: {folders[name].path}, {state}")
    if launcher is not None:
        runs = [
            TrainProcess(
                name=name,
                recipe=args.recipe,
                overrides=overrides[name],
                folder=folders[name].path,
                trainer=configs[name]["train"]["trainer"],
                options=["--allow-unknown"] if args.allow_unknown else [],
            )
            for name in pending
        ]
        with ended_like_ctrl_c():
            train_all(runs, launcher, is_done=has_finished)
    rows = [
        ComparedRow(name, exit) for name in names for exit in dict.fromkeys(args.exit or [None])
    ]
    records = with_latency(rows, configs, folders, chunks, args.command)
    print_table(records, args, paired_differences(rows, records, folders))
    return exit_code(records)


class ComparedRow(NamedTuple):
    """A row of the table: a run, with all its layers or up to an exit."""

    run: str
    exit: int | None

    def __str__(self) -> str:
        return Exit(self.exit).name_of(self.run)


def run_folder(config: Mapping[str, Any], recipe: Path) -> RunFolder:
    """Return the run folder of a variant.

    Raises:
        InputError: the settings cannot be trained.
    """
    folder = default_run_folder(config, recipe, check_run(config, recipe))
    check_folder(folder.path)
    return folder


def has_finished(run: TrainProcess) -> bool:
    """Return whether the run finished training, even if some splits could not be scored."""
    return RunFolder(run.folder).finished_record() is not None


def check_distinct(folders: Mapping[str, RunFolder]) -> None:
    """Raise InputError if two variants are the same run."""
    names: dict[Path, str] = {}
    for name, folder in folders.items():
        if folder.path in names:
            raise InputError(
                f"{names[folder.path]} and {name} are the same run; "
                "give variants that train differently"
            )
        names[folder.path] = name


def make_launcher(args: argparse.Namespace, num_runs: int) -> Launcher:
    """Make the launcher of ``num_runs`` runs.

    By default it starts one run per CPU core at once, one run on a GPU, or all on a cluster.

    Raises:
        InputError: options are wrong, or there is no cluster.
    """
    options = parse_launcher_options(args.launcher_options)
    if args.launcher == "submitit":
        return SubmititLauncher(options, num_jobs=args.jobs or num_runs)
    if args.launcher_options:
        raise InputError("--launcher-options needs --launcher submitit")
    num_at_once = 1 if torch.cuda.is_available() else min(num_runs, num_cores())
    return LocalLauncher(num_jobs=args.jobs or num_at_once)


def with_latency(
    rows: Sequence[ComparedRow],
    configs: Mapping[str, Mapping[str, Any]],
    folders: Mapping[str, RunFolder],
    chunks: Mapping[str, Sequence[Chunks]],
    command: str,
) -> list[RunRecord]:
    """Return the records of trained runs, named as in this comparison, with new latencies.

    All encoders are timed together, on the device of the first. The latency of a whole encoder is
    also saved in the run's record if it was trained on the same hardware. The test splits are
    decoded again for each exit, and as live streams in each of ``chunks``.
    """
    spec = latency_spec(configs)
    trainer: TrainerSpec = build(next(iter(configs.values()))["train"]["trainer"], "train.trainer")
    device = trainer.device
    timed_configs = {str(row): {**configs[row.run], EXIT: row.exit} for row in rows}
    costs = measure_encoders(timed_configs, spec, device=device, report=log)
    chunks = {str(row): chunks[row.run] for row in rows if row.run in chunks}
    streamed = time_streams(timed_configs, chunks, device) if chunks else {}
    hardware = describe_hardware(
        device, spec.dtype, num_threads=spec.num_threads, cuda_graphs=spec.cuda_graphs
    )
    records = []
    for row in rows:
        folder, cost = folders[row.run], costs[str(row)]
        trained = folder.finished_record()
        assert trained is not None, "every pending run was trained"
        timed = replace(
            trained,
            schedule=cost.schedule,
            macs=cost.macs,
            latency=cost.latency,
            breakdown=cost.breakdown,
        )
        if row.exit is not None:
            timed = read_again(timed, folder, row.exit, trainer.device)
        if str(row) in chunks:
            rates = score_streams(timed, folder, chunks[str(row)], trainer.device, row.exit)
            trained = replace(trained, streaming_wer=rates)
            timed = replace(timed, streaming_wer=rates, streaming=streamed[str(row)])
        if row.exit is None and trained.hardware == hardware:
            save_record(folder, timed)
        elif row.exit is None and str(row) in chunks:
            save_record(folder, trained)
        records.append(replace(timed, run=str(row), command=command, hardware=hardware))
    return records


def read_again(record: RunRecord, folder: RunFolder, exit: int, device: torch.device) -> RunRecord:
    """Evaluate an exit; return the run's record with the exit's error rates and sizes."""
    splits = splits_of(record.config)
    utterances = {split: splits.read(split) for split in splits.test}
    found = evaluate_splits(folder, splits, utterances, device, exit)
    return replace(
        record,
        config={**record.config, EXIT: exit},
        parameters=count_parameters(load_package(folder.model, exit=exit).model),
        wer={split: evaluation.wer for split, evaluation in found.items()},
        data=record.data | {split: evaluation.counts for split, evaluation in found.items()},
    )


def paired_differences(
    rows: Sequence[ComparedRow], records: Sequence[RunRecord], folders: Mapping[str, RunFolder]
) -> list[WerDifference]:
    """Compare each schedule with the first one without reuse, over all seeds and shared splits.

    With several exits, the deepest one counts. The p-values are corrected for the number of
    schedules.
    """
    groups = by_seed(records)
    plain = [group for group in groups if group.records[0].reuse == "none"]
    if not plain:
        return []
    baseline = max(plain, key=lambda group: group.records[0].config.get(EXIT) or 0)
    texts = {
        record.run: partial(folders[row.run].hypotheses, exit=row.exit)
        for row, record in zip(rows, records, strict=True)
    }

    def hypotheses(group: SeedGroup, split: str) -> list[list[ScoredUtterance]]:
        return [read_hypotheses(texts[one.run](split)) for one in group.records]

    differences = [
        wer_difference(
            hypotheses(group, split),
            hypotheses(baseline, split),
            split=split,
            run_name=group.name,
            baseline_name=baseline.name,
        )
        for group in groups
        if group is not baseline
        for split in baseline.records[0].wer
        if split in group.records[0].wer
    ]
    return corrected(differences)
