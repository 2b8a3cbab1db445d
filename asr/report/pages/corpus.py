"""The page of a prepared corpus: hours, lengths, rates, characters, problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from asr.report.charts.attention import histogram
from asr.report.pages.render import Block, Figures, Page, Paragraphs, Section, render, text_grid

NUM_ROWS = 200
"""Rows of a list on the page; a sentence above it gives the total."""

Unknown = Mapping[str, Mapping[str, str]]
"""Split -> utterance -> the characters of its transcript that the tokenizer does not know."""


class OutlierRow(TypedDict):
    """An utterance whose transcript is too long or too short for its audio."""

    utterance_id: str
    characters_per_s: float
    duration_s: float
    text: str


class StatisticsRow(TypedDict):
    """Lengths, characters and rates of a split; bar ``i`` of ``histogram`` starts at ``i * bin_s``.

    ``usual_rates`` are the bounds outside of which a rate, in characters per second, is an outlier.
    """

    bin_s: float
    histogram: Sequence[int]
    longest_s: float
    characters: Mapping[str, int]
    median_rate: float
    usual_rates: Sequence[float]
    num_outliers: int
    outliers: Sequence[OutlierRow]


class Split(TypedDict):
    """A split of the corpus; ``num_speakers`` is 0 if no speaker is known."""

    num_utterances: int
    num_speakers: int
    num_words: int
    duration_s: float
    statistics: StatisticsRow


class SkippedRow(TypedDict):
    """A row or file that could not be used, and why."""

    where: str
    reason: str


class Summary(TypedDict):
    """The record of a preparation, as in ``summary.json``; ``settings`` name the source."""

    splits: Mapping[str, Split]
    skipped: Sequence[SkippedRow]
    settings: Mapping[str, Any]


def corpus_page(
    name: str,
    summary: Summary,
    *,
    changed: Sequence[SkippedRow] = (),
    unknown: Unknown | None = None,
) -> str:
    """Return the page of the corpus ``name``; ``unknown`` is None without a tokenizer."""
    hours = sum(split["duration_s"] for split in summary["splits"].values()) / 3600
    count = sum(split["num_utterances"] for split in summary["splits"].values())
    counted = (
        f"{count:,} utterances, {hours:,.2f} h, in {len(summary['splits'])} splits; "
        f"{len(summary['skipped']):,} skipped, {len(changed):,} changed or gone since."
    )
    title = f"{name}: what was prepared"
    return render(
        Page(
            title=title,
            heading=title,
            introduction=[counted, *_origin(summary)],
            sections=_sections(summary, changed, unknown),
        )
    )


def _origin(summary: Summary) -> list[str]:
    """Return the source, if the summary gives it as a word or a list of words."""
    source = summary["settings"].get("source")
    if not source:
        return []
    text = source if isinstance(source, str) else ", ".join(map(str, source))
    return [f"{summary['settings'].get('corpus')}: {text}"]


def _sections(
    summary: Summary, changed: Sequence[SkippedRow], unknown: Unknown | None
) -> list[Section]:
    return [
        Section(id="splits", title="Splits", blocks=[_splits(summary)]),
        Section(id="lengths", title="Lengths of utterances", blocks=[_histograms(summary)]),
        Section(
            id="rates",
            title="Unusual speech rates",
            reading="Characters of the transcript per second of audio. Listed are utterances "
            "further from the median of their split than 5 robust standard deviations (median "
            "absolute deviation, of the logarithm): mostly transcripts that do not belong to their "
            "audio, cut audio, or long silence.",
            blocks=[_outliers(summary)],
        ),
        Section(
            id="characters",
            title="Characters",
            blocks=[*_unknown(unknown), *_characters(summary)],
        ),
        Section(
            id="skipped",
            title="Skipped",
            reading="Rows of the corpus that are in no manifest; all of them are in summary.json.",
            blocks=_wrong(summary["skipped"]),
        ),
        Section(
            id="changed",
            title="Changed or gone since",
            reading="Audio files of another size than when they were read.",
            blocks=_wrong(changed),
        ),
    ]


def _splits(summary: Summary) -> Block:
    return text_grid(
        (
            *("split", "utterances", "hours", "speakers", "words", "longest, s"),
            *("characters/s, median", "usual", "outliers"),
        ),
        [
            (
                name,
                f"{split['num_utterances']:,}",
                f"{split['duration_s'] / 3600:,.2f}",
                f"{split['num_speakers']:,}" if split["num_speakers"] else "unknown",
                f"{split['num_words']:,}",
                f"{split['statistics']['longest_s']:.1f}",
                f"{split['statistics']['median_rate']:.1f}",
                "{:.1f} to {:.1f}".format(*split["statistics"]["usual_rates"]),
                f"{split['statistics']['num_outliers']:,}",
            )
            for name, split in summary["splits"].items()
        ],
    )


def _histograms(summary: Summary) -> Block:
    return Figures(
        "lengths",
        [
            histogram(
                split["statistics"]["histogram"],
                split["statistics"]["bin_s"],
                title=name,
                axis="seconds",
                what="utterances",
            )
            for name, split in summary["splits"].items()
        ],
    )


def _outliers(summary: Summary) -> Block:
    rows = [
        (
            name,
            one["utterance_id"],
            f"{one['characters_per_s']:.1f}",
            f"{one['duration_s']:.2f}",
            one["text"],
        )
        for name, split in summary["splits"].items()
        for one in split["statistics"]["outliers"]
    ]
    if not rows:
        return Paragraphs(["None."])
    return text_grid(
        ("split", "utterance", "characters/s", "seconds", "transcript"), rows, (0, 1, 4)
    )


def _characters(summary: Summary) -> Iterable[Block]:
    counts = [split["statistics"]["characters"] for split in summary["splits"].values()]
    total = Counter[str]()
    for characters in counts:
        total.update(characters)
    if len(total) > NUM_ROWS:
        yield Paragraphs([f"The {NUM_ROWS} most frequent of {len(total):,}."])
    yield text_grid(
        ("character", "code", *summary["splits"]),
        [
            (
                character if character.strip() else "space",
                f"U+{ord(character):04X}",
                *(f"{characters.get(character, 0):,}" for characters in counts),
            )
            for character, _ in total.most_common(NUM_ROWS)
        ],
    )


def _unknown(unknown: Unknown | None) -> Iterable[Block]:
    if unknown is None:
        return
    rows = [
        (split, utterance_id, characters)
        for split, found in unknown.items()
        for utterance_id, characters in found.items()
    ]
    if not rows:
        yield Paragraphs(["The tokenizer knows every character."])
        return
    every = sorted({character for *_, characters in rows for character in characters})
    counted = (
        f"The tokenizer does not know {' '.join(every)}, which are in {len(rows):,} "
        "utterances once their transcripts are normalised."
    )
    yield Paragraphs([counted])
    yield text_grid(("split", "utterance", "unknown"), rows[:NUM_ROWS], (0, 1, 2))


def _wrong(found: Sequence[SkippedRow]) -> list[Block]:
    if not found:
        return [Paragraphs(["None."])]
    first = f", the first {NUM_ROWS}" if len(found) > NUM_ROWS else ""
    return [
        Paragraphs([f"{len(found):,} in all{first}:"]),
        text_grid(
            ("where", "what is wrong"),
            [(one["where"], one["reason"]) for one in found[:NUM_ROWS]],
            (0, 1),
        ),
    ]
