"""The model card (README) of a model package."""

from __future__ import annotations

from asr.report.comparison import compare
from asr.report.record import RunRecord


def model_card(record: RunRecord) -> str:
    """Return the card: what the model is, how it was made, WER and latency, how to use it."""
    title = f"# {record.config.get('name', record.run)}: {record.run}"
    data = [
        f"- {split}: {counts.num_utterances:,} utterances, {counts.hours:.2f} h, "
        f"{counts.num_words:,} words"
        f"{f', {counts.num_skipped:,} unreadable' if counts.num_skipped else ''}"
        for split, counts in record.data.items()
    ]
    cost = record.training
    training = (
        f"{cost.num_steps:,} steps, {cost.num_epochs} epochs, {cost.train_s:.0f} s"
        f"{f', {cost.num_skipped_steps} left out' if cost.num_skipped_steps else ''}"
        f"{f', resumed {cost.num_resumed} times' if cost.num_resumed else ''}"
        f"{', interrupted' if cost.interrupted else ''}."
        if cost
        else "Not trained."
    )
    return "\n".join(
        [
            title,
            "",
            f"Speech recogniser of {sum(record.parameters.values()):,} parameters, "
            f"reuse method `{record.reuse}`.",
            "",
            "    asr transcribe FILE --model THIS_FOLDER",
            "",
            "## Data",
            "",
            *data,
            "",
            "## Training",
            "",
            training,
            *_origin(record),
            "",
            "## Result",
            "",
            compare([record]).markdown(),
        ]
    )


def _origin(record: RunRecord) -> list[str]:
    """Return the origin of the weights, if they do not come from training alone."""
    pieces = record.pieces
    if pieces is None:
        return []
    return [
        "",
        f"It started from `{record.config['init']}` with a new vocabulary: {len(pieces.kept):,} of "
        f"{len(pieces.kept) + len(pieces.fresh):,} pieces kept their rows of the head.",
    ]
