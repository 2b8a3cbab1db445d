"""`asr prepare transcripts`: utterances to train on from a model's transcripts (pseudo-labels).

Self-training: a recogniser transcribes audio without transcripts, and the next one is trained on
its confident transcripts (Kahn, Lee and Hannun 2020, arXiv 1909.09116).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from asr.cli.corpus_tasks import TASKS_FILE
from asr.cli.options import number_in
from asr.data.formats.nemo import with_ids
from asr.data.prepare import RawUtterance
from asr.data.summary import Skipped
from asr.decode.greedy import TimedWord
from asr.decode.transcript import LONGEST_SEGMENT_S, Segment, Transcript
from asr.errors import InputError
from asr.files import json_objects, read_lines
from asr.ranges import Range

_Seconds = Annotated[float, Range(0, 1e7)]
MARGIN_S = 0.2  # audio kept around a segment, if its neighbours are far enough


@dataclass(slots=True)
class PseudoLabels:
    """Utterances with enough confidence, and counts and seconds of the others."""

    utterances: list[RawUtterance | Skipped] = field(default_factory=list)
    num_unsure: int = 0
    unsure_s: float = 0.0
    num_silent: int = 0


def read_pseudo_labels(
    sources: Sequence[Path], *, min_confidence: float, split: str = "train"
) -> PseudoLabels:
    """Read the utterances with enough confidence from JSON lines of `asr transcribe`.

    Raises:
        InputError: a file is missing, or a folder has none.
    """
    found = PseudoLabels()
    for path in [file for source in sources for file in _files(source)]:
        for where, record in json_objects(read_lines(path)):
            try:
                if isinstance(record, str):
                    raise InputError(record)
                transcript = _transcript(record)
            except InputError as error:
                found.utterances.append(Skipped(where, str(error)))
                continue
            _add(found, where, transcript, min_confidence, split)
    found.utterances = with_ids(found.utterances)
    return found


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    inside = sorted(
        path
        for path in source.iterdir()
        if path.suffix in (".json", ".jsonl") and path.name != TASKS_FILE
    )
    if not inside:
        raise InputError(
            f"{source}: no .json or .jsonl file in it, as `asr transcribe` writes them"
        )
    return inside


def _transcript(record: Mapping[str, Any]) -> Transcript:
    """Read the transcript of a JSON object; raise InputError if it has none."""
    if "error" in record:
        raise InputError(f"not transcribed: {record['error']}")
    if record.get("channel") is not None:
        raise InputError("a transcript of one channel; manifests name whole files")
    path, words = record.get("audio_path"), record.get("words")
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError("no audio_path")
    if not isinstance(words, list):
        raise InputError("no words")
    return Transcript(
        audio_path=path,
        duration_s=_seconds(record, "duration_s"),
        text=str(record.get("text", "")),
        words=tuple(_word(one) for one in words),
    )


def _word(record: object) -> TimedWord:
    if not isinstance(record, Mapping) or not isinstance(record.get("word"), str):
        raise InputError("words: not objects with a word")
    confidence = record.get("confidence")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float | None):
        raise InputError("words: a confidence that is not a number")
    return TimedWord(
        word=record["word"],
        start_s=_seconds(record, "start_s"),
        end_s=_seconds(record, "end_s"),
        confidence=confidence,
    )


def _seconds(record: Mapping[str, Any], key: str) -> float:
    try:
        value: float = number_in(str(record.get(key)), _Seconds)
    except ValueError as error:
        raise InputError(f"{key}: {error}") from None
    return value


def _add(
    found: PseudoLabels, where: str, transcript: Transcript, min_confidence: float, split: str
) -> None:
    if not transcript.words:
        found.num_silent += 1
    for text, words, start_s, end_s in _parts(transcript):
        known = [word.confidence for word in words if word.confidence is not None]
        if len(known) < len(words):
            found.utterances.append(Skipped(where, "words without a confidence"))
        elif sum(known) < min_confidence * len(known):
            found.num_unsure += 1
            found.unsure_s += (transcript.duration_s if end_s is None else end_s) - start_s
        else:
            found.utterances.append(
                RawUtterance(
                    where=where,
                    utterance_id="",
                    audio_path=Path(transcript.audio_path),
                    text=text,
                    split=split,
                    start_s=start_s,
                    duration_s=None if end_s is None else round(end_s - start_s, 3),
                )
            )


def _parts(
    transcript: Transcript,
) -> Iterator[tuple[str, Sequence[TimedWord], float, float | None]]:
    """Yield text, words, start and end of each utterance; None is the end of the file."""
    if not transcript.words:
        return
    if transcript.duration_s <= LONGEST_SEGMENT_S:
        yield transcript.text, transcript.words, 0.0, None
        return
    segments = transcript.segments
    for index, one in enumerate(segments):
        before_s = segments[index - 1].end_s if index else 0.0
        behind_s = _start_s(segments[index + 1 :], transcript.duration_s)
        start_s = max(one.start_s - MARGIN_S, (before_s + one.start_s) / 2)
        end_s = min(one.end_s + MARGIN_S, (one.end_s + behind_s) / 2)
        yield one.text, one.words, round(start_s, 3), round(end_s, 3)


def _start_s(segments: Sequence[Segment], otherwise_s: float) -> float:
    return segments[0].start_s if segments else otherwise_s
