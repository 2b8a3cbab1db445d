"""Decode every utterance once: exact durations, and the files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from asr.audio.read import Heard, hear_audio
from asr.data.manifest import Utterance
from asr.data.row import Row
from asr.data.summary import Skipped
from asr.text.normalize import drop_invisible

_REPORT_EVERY = 1000
_ROUNDED_S, _ROUNDED_SHARE = 0.5, 0.05  # what lengths in tables are off by


def listen(
    rows: Sequence[Row], num_jobs: int, report: Callable[[str], None]
) -> tuple[dict[Row, Utterance], list[Skipped], list[Skipped]]:
    """The utterances of rows that have audio, in the order of ``rows``, and the unusable rows.

    Also the usable ones whose audio there is something to say about.
    """
    usable: dict[Row, Utterance] = {}
    skipped: list[Skipped] = []
    noticed: list[Skipped] = []
    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        results = [pool.submit(_hear, row) for row in rows]
        try:
            for number, (row, result) in enumerate(zip(rows, results, strict=True), 1):
                heard = result.result()
                if isinstance(heard, str):
                    skipped.append(Skipped(row.where, heard))
                else:
                    usable[row] = _utterance(row, heard)
                    noticed += [Skipped(row.where, notice) for notice in heard.notices]
                if number % _REPORT_EVERY == 0:
                    report(f"read {number:,} of {len(rows):,} utterances")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return usable, skipped, noticed


def _hear(row: Row) -> Heard | str:
    """What is heard, or why the row cannot be used."""
    assert row.audio_path is not None
    try:
        heard = hear_audio(row.audio_path, start_s=row.start_s, duration_s=row.duration_s)
    except (OSError, ValueError) as error:
        return str(error)
    if row.whole_s is not None and _is_longer(heard.duration_s, row.whole_s):
        return (
            f"{row.audio_path} is {heard.duration_s:.2f} s long, its duration says "
            f"{row.whole_s:g} s; a stretch of a file needs its start too (start_s, offset, begin)"
        )
    return heard


def _utterance(row: Row, heard: Heard) -> Utterance:
    assert row.audio_path is not None
    return Utterance(
        utterance_id=row.utterance_id,
        audio_path=row.audio_path,
        start_s=row.start_s,
        duration_s=heard.duration_s,
        sample_rate_hz=heard.info.sample_rate_hz,
        num_channels=heard.info.num_channels,
        text=" ".join(drop_invisible(row.text).split()),
        speaker=row.speaker,
        num_bytes=row.audio_path.stat().st_size,
    )


def _is_longer(duration_s: float, said_s: float) -> bool:
    """Whether a file is longer than a rounded length of all of it can say."""
    return duration_s - said_s > max(_ROUNDED_S, _ROUNDED_SHARE * duration_s)
