"""Utterances on their way out: what another toolkit's manifest has to say of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr.audio.read import probe_audio
from asr.data.manifest import audio_path, read_manifest, transcript
from asr.data.prepare import report_rows
from asr.data.summary import Skipped
from asr.types import InputError


@dataclass(frozen=True, slots=True)
class Stretch:
    """An utterance and the stretch of a file that it is; ``is_whole`` where that is all of it."""

    utterance_id: str
    audio_path: Path
    start_s: float
    duration_s: float
    is_whole: bool
    text: str
    speaker: str | None


def read_stretches(manifest: Path, report: Callable[[str], None]) -> list[Stretch]:
    """The utterances of a manifest whose audio is there; the others are named and counted.

    Raises ``InputError`` where none is.
    """
    stretches: list[Stretch] = []
    skipped: list[Skipped] = []
    for cut in read_manifest(manifest):
        path = audio_path(cut)
        try:
            info = probe_audio(path)
        except InputError as error:
            skipped.append(Skipped(f"{manifest}, {cut.id}", str(error)))
            continue
        num_samples = round(cut.duration * info.sample_rate_hz)
        stretches.append(
            Stretch(
                utterance_id=cut.id,
                audio_path=path,
                start_s=cut.start,
                duration_s=cut.duration,
                is_whole=cut.start == 0 and num_samples == info.num_samples,
                text=" ".join(transcript(cut).split()),
                speaker=cut.speaker,
            )
        )
    report_rows("left out", skipped, report)
    if not stretches:
        raise InputError(f"{manifest}: no utterance with audio; first: {skipped[0]}")
    return stretches
