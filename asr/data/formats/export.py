"""Reading a manifest to export it to another toolkit's format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr.audio.read import probe_audio
from asr.data.manifest import read_manifest
from asr.data.prepare import report_skipped
from asr.data.summary import Skipped
from asr.errors import InputError


@dataclass(frozen=True, slots=True)
class ExportedUtterance:
    """An utterance to be exported; ``is_whole`` if it is all of its audio file."""

    utterance_id: str
    audio_path: Path
    start_s: float
    duration_s: float
    is_whole: bool
    text: str
    speaker: str | None


def read_for_export(manifest: Path, report: Callable[[str], None]) -> list[ExportedUtterance]:
    """Read the utterances of a manifest whose audio exists; report the others.

    Raises:
        InputError: no utterance has audio.
    """
    utterances: list[ExportedUtterance] = []
    skipped: list[Skipped] = []
    for utterance in read_manifest(manifest):
        path = utterance.audio_path
        try:
            info = probe_audio(path)
        except InputError as error:
            skipped.append(Skipped(f"{manifest}, {utterance.utterance_id}", str(error)))
            continue
        num_samples = round(utterance.duration_s * info.sample_rate_hz)
        utterances.append(
            ExportedUtterance(
                utterance_id=utterance.utterance_id,
                audio_path=path,
                start_s=utterance.start_s,
                duration_s=utterance.duration_s,
                is_whole=utterance.start_s == 0 and num_samples == info.num_samples,
                text=" ".join(utterance.text.split()),
                speaker=utterance.speaker,
            )
        )
    report_skipped("left out", skipped, report)
    if not utterances:
        raise InputError(f"{manifest}: no utterance with audio; first: {skipped[0]}")
    return utterances
