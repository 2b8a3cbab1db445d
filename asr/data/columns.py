"""Columns of transcript tables, recognised by their usual names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from asr.errors import InputError

NAMES: Mapping[str, Sequence[str]] = {
    "audio": ("audio", "path", "audio_path", "audio_filepath", "file"),
    "text": ("text", "transcript", "sentence"),
    "id": ("id", "utterance_id"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "split": ("split",),
}
"""Columns other than times: our name, then the names in tables, in order of preference."""

TimeBound = Literal["start", "end", "duration"]

_KINDS: Mapping[str, TimeBound] = {
    **dict.fromkeys(("start", "begin", "beginning", "beg", "onset", "offset"), "start"),
    **dict.fromkeys(("tmin", "xmin", "from"), "start"),
    **dict.fromkeys(("end", "stop", "finish", "tmax", "xmax", "to", "until"), "end"),
    **dict.fromkeys(("duration", "dur", "length", "len"), "duration"),
}
_WEAK = frozenset({"from", "to", "until", "length", "len"})  # not times when alone
_FILLERS = frozenset({"time", "times", "timestamp", "audio", "segment", "seg", "utterance", "utt"})
_FILLERS |= {"clip", "file", "speech", "at", "in", "pos", "position"}
_UNITS_S: Mapping[str, float | None] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "ns", "sample", "samples", "frame", "frames"), None),
    **dict.fromkeys(("min", "mins", "minute", "minutes", "h", "hours"), None),
}


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column of times: its ``name`` in the table, and the seconds of its unit."""

    name: str
    unit_s: float

    @property
    def is_weak(self) -> bool:
        """Whether the name means a time only next to another column of times."""
        return _WEAK.issuperset(_words(self.name))

    def seconds(self, fields: Mapping[str, Any]) -> float | None:
        """Return a row's time, None if it has none; ``InputError`` if it is not a number."""
        value = fields.get(self.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        return self.unit_s * number(value, self.name)


@dataclass(frozen=True, slots=True)
class FileSegment:
    """The segment of a file that a row describes; ``duration_s`` None: to the end of the file.

    ``whole_s`` is the length of the file if the row gives only that.
    """

    start_s: float = 0.0
    duration_s: float | None = None
    whole_s: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the row describes no segment."""
        return self.start_s == 0 and self.duration_s is None


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table by our names, and the unused columns."""

    names: Mapping[str, str]
    times: Mapping[TimeBound, TimeColumn]
    unused: tuple[str, ...]

    def text_of(self, fields: Mapping[str, Any], name: str) -> str:
        """Return the value of our column ``name``, empty if the row has none.

        Raises ``InputError`` if the value is neither a text nor a number.
        """
        column = self.names.get(name)
        value = None if column is None else fields.get(column)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"{column} is {brief(value)}; a text is expected")
        return str(value).strip()

    def segment(self, fields: Mapping[str, Any]) -> FileSegment:
        """Return the segment that a row describes; ``InputError`` if its times are inconsistent."""
        times_s = {kind: column.seconds(fields) for kind, column in self.times.items()}
        start_s, end_s, duration_s = (times_s.get(k) for k in ("start", "end", "duration"))
        if "start" not in self.times:
            return FileSegment(whole_s=duration_s)
        if start_s is None and end_s is None and duration_s is None:
            return FileSegment()
        if start_s is None or (end_s is None and duration_s is None):
            given = [self.times[kind].name for kind in self.times if times_s[kind] is not None]
            raise InputError(f"{' and '.join(given)} alone; a stretch needs a start and an end")
        length_s = duration_s if end_s is None else round(end_s - start_s, 9)
        assert length_s is not None
        if duration_s is not None and abs(length_s - duration_s) > 0.01:
            raise InputError(
                f"{self.times['start'].name}, {self.times['end'].name} and "
                f"{self.times['duration'].name} contradict one another: "
                f"{start_s:g}, {end_s:g} and {duration_s:g} s"
            )
        return FileSegment(start_s, length_s)


@lru_cache(maxsize=64)
def find_columns(heading: tuple[str, ...]) -> Columns:
    """Recognise the columns of a table by their names.

    Raises:
        InputError: a start without an end or a length, an end without a start, or times in a unit
            other than seconds and milliseconds.
    """
    named: dict[str, str] = {}
    for ours, theirs in NAMES.items():
        by_rank = {_plain(name): name for name in reversed(heading)}
        found = next((by_rank[name] for name in theirs if name in by_rank), None)
        if found is not None:
            named[ours] = found
    times: dict[TimeBound, TimeColumn] = {}
    foreign: list[str] = []
    has_onset = any("onset" in _words(name) for name in heading)
    for name in heading:
        kind, unit_s = _time_kind(name)
        if kind == "start" and has_onset and "offset" in _words(name):
            kind = "end"  # annotators write onset and offset
        if kind is None or kind in times:
            continue
        if unit_s is None:
            foreign.append(name)
        else:
            times[kind] = TimeColumn(name, unit_s)
    is_alone = "start" not in times or len(times) == 1
    times = {kind: column for kind, column in times.items() if not (is_alone and column.is_weak)}
    _check_pairs(times, foreign)
    used = {*named.values(), *(column.name for column in times.values())}
    return Columns(named, times, tuple(name for name in heading if name and name not in used))


def number(value: object, name: str) -> float:
    """Parse a finite number from text or JSON; ``InputError`` names the column."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "_" in str(value):
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"{name} is {brief(value)}; a number is expected")
    return found


def time_label(start_s: float) -> str:
    """Format seconds for the name of a segment: ``1.5`` for 1.5."""
    return f"{start_s:.10g}"


def _check_pairs(times: Mapping[TimeBound, TimeColumn], foreign: Sequence[str]) -> None:
    if foreign:
        raise InputError(
            f"column {foreign[0]}: times are read in seconds (start_s, end_s) or milliseconds "
            "(start_ms, end_ms); convert or rename it"
        )
    if "start" in times and len(times) == 1:
        raise InputError(
            f"column {times['start'].name} is where an utterance starts, but no column says where "
            "it ends (end, end_s, end_time, duration, …); add one, or rename it"
        )
    if "end" in times and "start" not in times:
        raise InputError(
            f"column {times['end'].name} is where an utterance ends, but no column says where it "
            "starts (start, start_s, begin, offset, …); add one, or rename it"
        )


def _time_kind(name: str) -> tuple[TimeBound | None, float | None]:
    """Return the kind of time a column holds, if any, and the seconds of its unit."""
    words = [word for word in _words(name) if word not in _FILLERS]
    units = [word for word in words if word in _UNITS_S]
    kinds = [word for word in words if word not in _UNITS_S]
    if len(kinds) > 1 and "offset" in kinds:  # start_offset, end_offset
        kinds.remove("offset")
    if len(kinds) != 1 or len(units) > 1:
        return None, None
    return _KINDS.get(kinds[0]), _UNITS_S[units[0]] if units else 1.0


def _words(name: str) -> list[str]:
    """Split ``startTime`` or ``Start Time (s)`` into lower-case words."""
    return re.findall(r"[a-z]+\d*", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _plain(name: str) -> str:
    return name.strip().lower()


def brief(value: object) -> str:
    """Shorten a value for an error message."""
    text = repr(value) if isinstance(value, str | bool) or value is None else str(value)
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return text if len(text) <= 40 else f"{text[:37]}…"
