"""What was prepared as one HTML file: hours, lengths, rates, characters, what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from asr.data.summary import PrepareSummary, Skipped
from asr.report.html.axis import horizontal_axis, tick_room, vertical_axis
from asr.report.html.document import asset, document
from asr.report.html.figure import drawing, figure, grid, section
from asr.report.html.label import Box
from asr.report.html.markup import Markup, element, joined
from asr.report.html.scale import Scale, from_zero

_WIDTH, _HEIGHT = 540.0, 260.0
_TOP, _BOTTOM = 30.0, 48.0


def histogram(counts: Sequence[int], width: float, *, title: str, axis: str, what: str) -> Markup:
    """Bar ``i`` counts ``what`` from ``i * width`` to ``(i + 1) * width``."""
    y = Scale(0.0, 1.05 * max(counts), _HEIGHT - _BOTTOM, _TOP)
    area = Box(tick_room(y), _TOP, _WIDTH - 14, _HEIGHT - _BOTTOM)
    x = from_zero(width * len(counts), area.left, area.right)
    bars = [
        element(
            "rect",
            element("title", f"{index * width:g} to {(index + 1) * width:g}: {count:,} {what}"),
            x=x(index * width),
            y=y(count),
            width=x((index + 1) * width) - x(index * width),
            height=area.bottom - y(count),
            class_="segment hue0",
        )
        for index, count in enumerate(counts)
        if count
    ]
    most = max(range(len(counts)), key=counts.__getitem__)
    return drawing(
        _WIDTH,
        _HEIGHT,
        title,
        f"{sum(counts):,} {what}, most of them from {most * width:g} to {(most + 1) * width:g}",
        vertical_axis(y, area, what),
        horizontal_axis(x, area, axis),
        *bars,
    )


NUM_ROWS = 200  # of a list on the page; above it a sentence counts all

Unknown = Mapping[str, Mapping[str, str]]
"""Split -> utterance -> the characters of its transcript that a tokenizer does not know."""


def page(
    summary: PrepareSummary,
    *,
    changed: Sequence[Skipped] = (),
    unknown: Unknown | None = None,
) -> str:
    """The whole page; ``unknown`` is None where no tokenizer was asked."""
    name = summary.out.resolve().name
    hours = sum(split.duration_s for split in summary.splits.values()) / 3600
    count = sum(split.num_utterances for split in summary.splits.values())
    return document(
        f"{name}: what was prepared",
        element(
            "header",
            element("h1", f"{name}: what was prepared"),
            element(
                "p",
                f"{count:,} utterances, {hours:,.2f} h, in {len(summary.splits)} splits; "
                f"{summary.num_skipped:,} skipped, {len(changed):,} changed or gone since.",
                class_="reading",
            ),
            *_origin(summary),
        ),
        element("main", *_sections(summary, changed, unknown)),
        style=joined([asset("asr.report.html", "style.css")]),
    )


def _origin(summary: PrepareSummary) -> Iterator[Markup]:
    """Where it came from, as far as the summary says it in a word or a list of them."""
    source = summary.settings.get("source")
    if source:
        text = source if isinstance(source, str) else ", ".join(map(str, source))
        yield element("p", f"{summary.settings.get('corpus')}: {text}", class_="reading")


def _sections(
    summary: PrepareSummary, changed: Sequence[Skipped], unknown: Unknown | None
) -> Iterator[Markup]:
    yield section("Splits", _splits(summary), id_="splits")
    yield section("Lengths of utterances", grid(_histograms(summary)), id_="lengths")
    yield section(
        "Rates of speech out of the ordinary",
        _outliers(summary),
        reading="Characters of the transcript per second of audio. Listed are utterances further "
        "from the median of their split than 5 robust standard deviations (median absolute "
        "deviation, of the logarithm): mostly transcripts that do not belong to their audio, cut "
        "audio, or long silence.",
        id_="rates",
    )
    yield section("Characters", _characters(summary, unknown), id_="characters")
    yield section(
        "Skipped",
        _wrong(summary.skipped),
        reading="Rows of the corpus that are in no manifest; all of them are in summary.json.",
        id_="skipped",
    )
    yield section(
        "Changed or gone since",
        _wrong(changed),
        reading="Audio files of another size than when they were read.",
        id_="changed",
    )


def _splits(summary: PrepareSummary) -> Markup:
    return _table(
        (
            *("split", "utterances", "hours", "speakers", "words", "longest, s"),
            *("characters/s, median", "usual", "outliers"),
        ),
        (
            (
                name,
                f"{split.num_utterances:,}",
                f"{split.duration_s / 3600:,.2f}",
                f"{split.num_speakers:,}" if split.num_speakers else "unknown",
                f"{split.num_words:,}",
                f"{split.statistics.longest_s:.1f}",
                f"{split.statistics.median_rate:.1f}",
                "{:.1f} to {:.1f}".format(*split.statistics.usual_rates),
                f"{split.statistics.num_outliers:,}",
            )
            for name, split in summary.splits.items()
        ),
    )


def _histograms(summary: PrepareSummary) -> Iterator[Markup]:
    for name, split in summary.splits.items():
        chart = histogram(
            split.statistics.histogram,
            split.statistics.bin_s,
            title=f"Lengths of the utterances of {name}",
            axis="seconds",
            what="utterances",
        )
        yield figure(name, chart, "lengths")


def _outliers(summary: PrepareSummary) -> Markup:
    rows = [
        (name, one.utterance_id, f"{one.characters_per_s:.1f}", f"{one.duration_s:.2f}", one.text)
        for name, split in summary.splits.items()
        for one in split.statistics.outliers
    ]
    if not rows:
        return element("p", "None.")
    return _table(
        ("split", "utterance", "characters/s", "seconds", "transcript"), rows, words=(1, 4)
    )


def _characters(summary: PrepareSummary, unknown: Unknown | None) -> Markup:
    statistics = [split.statistics for split in summary.splits.values()]
    total = Counter[str]()
    for one in statistics:
        total.update(one.characters)
    parts = [
        _table(
            ("character", "code", *summary.splits),
            (
                (
                    character if character.strip() else "space",
                    f"U+{ord(character):04X}",
                    *(f"{one.characters.get(character, 0):,}" for one in statistics),
                )
                for character, _ in total.most_common(NUM_ROWS)
            ),
        )
    ]
    if len(total) > NUM_ROWS:
        parts.insert(0, element("p", f"The {NUM_ROWS} most frequent of {len(total):,}."))
    if unknown is not None:
        parts.insert(0, _unknown(unknown))
    return joined(parts)


def _unknown(unknown: Unknown) -> Markup:
    rows = [
        (split, utterance_id, characters)
        for split, found in unknown.items()
        for utterance_id, characters in found.items()
    ]
    if not rows:
        return element("p", "The tokenizer knows every character.")
    every = sorted({character for *_, characters in rows for character in characters})
    return joined(
        [
            element(
                "p",
                f"The tokenizer does not know {' '.join(every)}, which are in {len(rows):,} "
                "utterances once their transcripts are normalised.",
            ),
            _table(("split", "utterance", "unknown"), rows[:NUM_ROWS], words=(1, 2)),
        ]
    )


def _wrong(found: Sequence[Skipped]) -> Markup:
    if not found:
        return element("p", "None.")
    rows = [(one.where, one.reason) for one in found[:NUM_ROWS]]
    first = f", the first {NUM_ROWS}" if len(found) > NUM_ROWS else ""
    return joined(
        [
            element("p", f"{len(found):,} in all{first}:"),
            _table(("where", "what is wrong"), rows, words=(1,)),
        ]
    )


def _table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = ()
) -> Markup:
    """A table of numbers, but for the first column and those in ``words``."""
    kinds = ["text" if i in (0, *words) else "number" for i in range(len(headers))]

    def row(tag: str, cells: Sequence[str]) -> Markup:
        pairs = zip(cells, kinds, strict=True)
        return element("tr", *(element(tag, cell, class_=kind) for cell, kind in pairs))

    head = element("thead", row("th", headers))
    body = element("tbody", *(row("td", cells) for cells in rows))
    return element("div", element("table", head, body), class_="wide")
