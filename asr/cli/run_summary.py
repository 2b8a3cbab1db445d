"""Summaries of a run for the terminal, before and after training."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from asr.cli.run_folder import RunFolder
from asr.data.manifest import Utterances
from asr.distributed import is_first
from asr.encoder.stack import Encoder
from asr.measure.encoders import scheduled_layers
from asr.model.asr_model import AsrModel
from asr.model.convert import Initialised
from asr.model.package import ModelPackage
from asr.report.record import TrainingCost
from asr.report.rows import schedule_text
from asr.text.tokenizer import Tokenizer
from asr.types import SharedPieces


def describe_start(parent: ModelPackage, model: AsrModel, started: Initialised) -> str:
    """Describe weights from another model, new weights, and a change of schedule."""
    theirs, ours = (
        f"{one.reuse.name} ({schedule_text(scheduled_layers(one))})"
        for one in (parent.model.encoder, model.encoder)
    )
    other = "" if theirs == ours else f"; its reuse is {theirs}, this run's is {ours}"
    fresh = f"; new: {', '.join(started.fresh)}" if started.fresh else ""
    return (
        f"init: {len(started.copied)} tensors from {parent.folder}, "
        f"{len(started.unused)} not used{fresh}{other}"
    )


_NUM_NAMED = 100  # pieces listed here; the record lists all


def describe_pieces(pieces: SharedPieces) -> str:
    """Describe which pieces of a new vocabulary keep their rows of the head, are new or gone."""
    return "\n".join(
        f"init: {len(group):,} pieces {fate}{': ' if group else ''}{' '.join(group[:_NUM_NAMED])}"
        f"{' …' if len(group) > _NUM_NAMED else ''}"
        for group, fate in (
            (pieces.kept, "keep their rows of the head"),
            (pieces.fresh, "start untrained"),
            (pieces.dropped, "of that model are gone"),
        )
    )


def describe_run(
    model: AsrModel,
    tokenizer: Tokenizer,
    utterances: Mapping[str, Utterances],
    folder: RunFolder,
    num_unalignable: int,
) -> str:
    """Describe the model, the schedule and the data, before training starts."""
    num_params = sum(parameter.numel() for parameter in model.parameters())
    hours = ", ".join(
        f"{split} {len(each):,} utterances {sum(one.duration_s for one in each) / 3600:.2f} h"
        for split, each in utterances.items()
    )
    lines = [
        f"run folder {folder.path}",
        f"data: {hours}",
        f"model: {num_params:,} parameters, {tokenizer.vocab_size} tokens",
        *schedule_lines(model.encoder),
    ]
    if num_unalignable:
        lines.append(
            f"left out: {num_unalignable:,} training utterances have fewer frames than tokens"
        )
    return "\n".join(lines)


def describe_training(cost: TrainingCost, *, num_unreadable: int) -> str:
    """Describe the result of training, and everything that was left out."""
    parts = [
        f"trained: {cost.num_steps:,} steps, {cost.num_epochs} epochs, {cost.train_s:.0f} s, "
        f"{100 * cost.data_wait_share:.0f} % of it waiting for data"
    ]
    for number, what in (
        (cost.num_skipped_steps, "steps left out, their loss or gradient not finite"),
        (num_unreadable, "training utterances unreadable"),
        (cost.num_bad_sounds, "recordings of noise or rooms unreadable"),
        (cost.num_resumed, "times resumed"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    return "; ".join(parts)


def schedule_lines(encoder: Encoder) -> list[str]:
    """Describe the resolved schedule: a heading and a line per layer."""
    return [
        "layer  method     role    leader  heads reused  parameters saved",
        *(
            f"{row.layer:5}  {row.method:9}  {row.role:6}  "
            f"{'-' if row.leader is None else row.leader:>6}  "
            f"{row.heads_reused:12}  {row.parameters_saved:16,}"
            for row in encoder.schedule_rows()
        ),
    ]


def log(line: str) -> None:
    """Print a line of progress to standard error; standard output is for results.

    In a training run with several processes, only the first prints.
    """
    if is_first():
        print(line, file=sys.stderr, flush=True)
