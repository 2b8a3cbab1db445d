"""The table of live streams: error rate, latency, time and memory by length of the chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from asr.report.comparison import wer_text
from asr.report.further_tables import baseline_text
from asr.report.points import StreamingPoint
from asr.report.record import RunRecord, length_key, rate_name
from asr.report.rows import BASELINE_NAMES, SplitScore, by_seed
from asr.report.table import MISSING, Column, Table, number_text

_NOTE = (
    "Latency: the longest wait of a frame for audio; ms and 99 %: median and percentile of the "
    "time for a chunk of all streams, encoder alone; RTF: median over the length of the chunk; "
    "live: streams served at the speed of speech; KiB kept: of one stream from chunk to chunk; "
    "speed-ups as for latency."
)


@dataclass(frozen=True, slots=True)
class _Streamed:
    """A point of a schedule, with the scores of its chunk length by split, over all seeds."""

    name: str
    point: StreamingPoint
    scores: dict[str, SplitScore]


def streaming_table(records: Sequence[RunRecord]) -> Table | None:
    """Return a row for every schedule, chunk and number of streams; None without any."""
    rows = list(_rows(records))
    if not rows:
        return None
    points = [row.point for row in rows]

    def column(
        header: str,
        key: str,
        value: Callable[[StreamingPoint], float | None],
        text: Callable[[float], str] = number_text,
    ) -> Column:
        values = tuple(map(value, points))
        texts = tuple(MISSING if one is None else text(one) for one in values)
        return Column(header, texts, {key: values})

    names = tuple(row.name for row in rows)
    columns = (
        Column("streaming", names, {"run": names}, align_right=False),
        column("chunk ms", "chunk_ms", _chunk_ms, length_key),
        column(
            "latency ms",
            "latency_ms",
            lambda point: None if point.latency_s is None else 1000 * point.latency_s,
            length_key,
        ),
        *_wer_columns(rows),
        column("streams", "num_streams", lambda point: point.batch_size, str),
        column("ms", "median_ms", lambda point: point.median_ms),
        column("99 %", "p99_ms", lambda point: point.p99_ms),
        column("RTF", "real_time_factor", lambda point: point.real_time_factor),
        column("live", "live_streams", lambda point: point.num_live, "{:.0f}".format),
        column(
            "KiB kept",
            "kept_bytes",
            lambda point: point.kept_bytes,
            lambda number: number_text(number / 1024),
        ),
        *(
            Column(
                f"vs {name}",
                tuple(baseline_text(point, name) for point in points),
                {f"speedup_vs_none_{name}": tuple(_speedup(point, name) for point in points)},
            )
            for name in BASELINE_NAMES
        ),
    )
    return Table(columns=columns, notes=(_NOTE,))


def _rows(records: Sequence[RunRecord]) -> Iterator[_Streamed]:
    for group in by_seed(records):
        for point in group.records[0].streaming:
            key = length_key(_chunk_ms(point))
            found: dict[str, list[SplitScore]] = {}
            for record in group.records:
                for split, rate in record.streaming_wer.get(key, {}).items():
                    score = SplitScore.of_run(rate, record.data.get(split))
                    found.setdefault(split, []).append(score)
            scores = {
                split: each[0] if len(each) == 1 else SplitScore.over_seeds(each)
                for split, each in found.items()
            }
            yield _Streamed(group.name, point, scores)


def _chunk_ms(point: StreamingPoint) -> float:
    return round(1000 * point.length_s, 6)


def _wer_columns(rows: Sequence[_Streamed]) -> Iterator[Column]:
    for split in dict.fromkeys(split for row in rows for split in row.scores):
        scores = [row.scores.get(split) for row in rows]
        rate = next((rate_name(score.counted) for score in scores if score), "WER")
        yield Column(
            f"{rate} % {split}",
            tuple(MISSING if score is None else wer_text(score) for score in scores),
            {
                f"wer_{split}_{key}": tuple(
                    None if score is None else getattr(score, key) for score in scores
                )
                for key in ("wer", "low", "high")
            },
        )


def _speedup(point: StreamingPoint, baseline: str) -> float | None:
    timing = point.baselines.get(baseline)
    return None if timing is None else timing.speedup
