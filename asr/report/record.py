"""The record of one run, as one JSON file from which every report is made.

Schedules, costs and timings are plain values here, so that a record can be read after the code has
changed. Lengths are seconds of audio; as keys they are written by :func:`length_key` ("15", "2.5").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asr.errors import InputError
from asr.files import write_text
from asr.metrics.bootstrap import units_of, wer_interval
from asr.metrics.wer import WordErrors
from asr.profiling.hardware import Hardware, Revision
from asr.profiling.roofline import Ceilings, Work
from asr.report.plain import from_plain, to_plain
from asr.report.points import LatencyPoint, ScalingPoint, StreamingPoint, TrainingStepPoint
from asr.types import SharedPieces

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledLayer:
    """One row of the resolved schedule.

    ``role`` is alone, lead, follow or absent; ``method`` is the reuse method of the layer, empty in
    records that do not hold it.
    """

    layer: int
    role: str
    leader: int | None = None
    heads_reused: int = 0
    parameters_saved: int = 0
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCounts:
    """Counts of a split; skipped utterances were unreadable, left-out ones unfit for the loss."""

    num_utterances: int
    hours: float
    num_words: int
    num_skipped: int = 0
    num_left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingWork:
    """Seconds of work by part to decode ``audio_s`` seconds of a split, summed over all threads.

    Reading files does not count. The head counts as encoder, and so does all of an exported model.
    """

    audio_s: float
    features: float
    encoder: float
    search: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCost:
    """The cost of training; ``data_wait_share`` (0 to 1) is the fraction of waiting for data.

    ``num_skipped_steps`` were left out because their loss or gradient was not finite;
    ``num_bad_sounds`` recordings of noise or rooms could not be read.
    """

    train_s: float
    cpu_s: float
    num_steps: int
    num_epochs: float
    data_wait_share: float
    interrupted: bool
    num_skipped_steps: int = 0
    num_bad_sounds: int = 0
    num_resumed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitWer:
    """Word error rate of a split in percent, its interval at ``level``, and the counts.

    ``counted`` is the unit of errors: "words", or "characters" in scripts without spaces, where the
    rate is a character error rate. ``cer`` is the character error rate in percent, None in records
    that do not hold it. The interval is over ``num_units`` speakers or utterances (``unit``).
    ``scoring`` says how both sides were normalised, if not as the model does.
    """

    wer: float
    low: float
    high: float
    sub: int
    del_: int
    ins: int
    words: int
    level: float = 0.95
    cer: float | None = None
    unit: str = "utterances"
    num_units: int | None = None
    counted: str = "words"
    scoring: str | None = None

    @property
    def rate(self) -> str:
        """The name of the rate."""
        return rate_name(self.counted)

    @classmethod
    def from_errors(
        cls,
        per_utterance: Sequence[WordErrors],
        *,
        speakers: Sequence[str | None] | None = None,
        num_samples: int = 1000,
        seed: int = 0,
        level: float = 0.95,
        cer: float | None = None,
        counted: str = "words",
        scoring: str | None = None,
    ) -> SplitWer:
        """Compute the corpus rate over ``per_utterance`` with its bootstrap interval."""
        total = WordErrors.total(per_utterance)
        units = units_of(len(per_utterance), speakers)
        low, high = wer_interval(
            per_utterance, speakers=speakers, num_samples=num_samples, seed=seed, level=level
        )
        return cls(
            wer=total.wer,
            low=low,
            high=high,
            sub=total.sub,
            del_=total.del_,
            ins=total.ins,
            words=total.words,
            level=level,
            cer=cer,
            unit=units.name,
            num_units=units.num,
            counted=counted,
            scoring=scoring,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningPoint:
    """Values logged at a step: mean loss since the last point, dev WER in percent, or None."""

    step: int
    train_loss: float | None = None
    dev_wer: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WerChange:
    """The change of an error rate by the dtype of the encoder: points more than in float32.

    The interval covers the choice of speakers or utterances.
    """

    difference: float
    low: float
    high: float
    wer_float32: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The record of one run.

    ``parameters`` are by part, ``macs`` (multiply-adds) by length key, then by part. ``breakdown``:
    milliseconds inside the encoder's operations by length key, then by part, for one call at the
    smallest batch size timed; a latency exceeds their sum by the time between operations. ``work``:
    the work of these parts in that call; ``ceilings``: timed in alternation with them. ``training``
    is None for a run that only measured, ``learning`` its curve. ``pieces`` says which rows of the
    head come from the initial model, if that has another vocabulary. ``groups`` are rates of a
    split by a label, such as speaker, and its value; ``decoding`` is by split.
    ``wer_vs_float32`` is for encoders in another dtype. ``streaming_wer`` are rates of live streams
    by the length of their chunks in milliseconds, as `length_key` writes it, then by split. Records
    are values: extend one with ``dataclasses.replace``.
    """

    run: str
    reuse: str
    command: str
    config: dict[str, Any]
    schedule: tuple[ScheduledLayer, ...]
    hardware: Hardware
    versions: dict[str, str]
    revision: Revision | None
    parameters: dict[str, int]
    macs: dict[str, dict[str, int]] = field(default_factory=dict)
    data: dict[str, SplitCounts] = field(default_factory=dict)
    training: TrainingCost | None = None
    wer: dict[str, SplitWer] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, SplitWer]]] = field(default_factory=dict)
    decoding: dict[str, DecodingWork] = field(default_factory=dict)
    wer_vs_float32: dict[str, WerChange] = field(default_factory=dict)
    latency: tuple[LatencyPoint, ...] = ()
    breakdown: dict[str, dict[str, float]] = field(default_factory=dict)
    work: dict[str, dict[str, Work]] = field(default_factory=dict)
    ceilings: dict[str, Ceilings] = field(default_factory=dict)
    scaling: tuple[ScalingPoint, ...] = ()
    streaming: tuple[StreamingPoint, ...] = ()
    streaming_wer: dict[str, dict[str, SplitWer]] = field(default_factory=dict)
    training_step: tuple[TrainingStepPoint, ...] = ()
    learning: tuple[LearningPoint, ...] = ()
    pieces: SharedPieces | None = None
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    schema_version: int = SCHEMA_VERSION

    def save(self, path: Path | str) -> None:
        """Write the record to the file ``path`` atomically."""
        text = json.dumps(to_plain(self), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    @classmethod
    def load(cls, path: Path | str) -> RunRecord:
        """Read the record at ``path``, a file or a run folder that holds ``record.json``.

        Raises InputError if it is missing, damaged or of another schema version.
        """
        path = Path(path)
        if path.is_dir():
            path = path / RECORD_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: no run record can be read: {error.strerror}") from error
        except ValueError as error:  # not JSON, or not UTF-8
            raise InputError(f"{path}: not a run record, damaged JSON: {error}") from error
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{path}: run record of schema version {version!r}; {SCHEMA_VERSION} is expected"
            )
        return from_plain(cls, content, str(path))


def rate_name(counted: str) -> str:
    """Return the name of the error rate of ``counted``: WER of words, CER of characters."""
    return "CER" if counted == "characters" else "WER"


def length_key(length_s: float) -> str:
    """Return a length of audio as a key: 15.0 is "15", 2.5 is "2.5"."""
    return f"{length_s:g}"
