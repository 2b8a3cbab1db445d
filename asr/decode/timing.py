"""How long transcribing took, and what took it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from asr.decode.labelling import PARTS


@dataclass(frozen=True, slots=True)
class Timing:
    """``audio_s`` of speech in ``wall_s``, after ``load_s`` for the model.

    ``work_s`` is by part, summed over all threads (`asr.decode.stopwatch.Stopwatch`).
    """

    audio_s: float
    wall_s: float
    load_s: float
    num_threads: int
    work_s: Mapping[str, float]

    @property
    def real_time_factor(self) -> float:
        """Seconds a second of audio takes; NaN where there is no audio."""
        return self.wall_s / self.audio_s if self.audio_s else float("nan")

    @property
    def shares(self) -> dict[str, float]:
        """Of the work of all threads, by part; an exported model is ``encoder`` as a whole."""
        total_s = sum(self.work_s.values())
        return {part: self.work_s.get(part, 0.0) / total_s if total_s else 0.0 for part in PARTS}

    def __str__(self) -> str:
        """One line."""
        shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in self.shares.items())
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return (
            f"{self.audio_s:.1f} s of audio in {self.wall_s:.2f} s on {threads} "
            f"(real-time factor {self.real_time_factor:.2g}), "
            f"the model loaded in {self.load_s:.2f} s; of the work {shares}"
        )

    def as_json(self) -> str:
        """One line that holds an object: the fields, ``real_time_factor`` and ``shares``."""
        factor = self.real_time_factor if self.audio_s else None
        return json.dumps({**asdict(self), "real_time_factor": factor, "shares": self.shares})
