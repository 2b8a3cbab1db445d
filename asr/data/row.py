"""What a corpus says about one utterance, before anything of it is checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """A transcript and the audio it names; nothing of it is checked yet.

    ``where`` is the transcript file and line. ``audio_path`` is None where no file has the name
    that the transcript wants. ``duration_s`` None means up to the end of the file; ``whole_s`` is
    then the length of the file as the transcript has it, None where it does not say.
    """

    where: str
    utterance_id: str
    audio_path: Path | None
    text: str
    speaker: str | None = None
    split: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    whole_s: float | None = None
