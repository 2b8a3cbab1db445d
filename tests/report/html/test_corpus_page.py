from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from asr.data.summary import Outlier, PrepareSummary, Skipped, SplitSummary, Statistics
from asr.report.html.corpus_page import NUM_ROWS, page

STATISTICS = Statistics(
    bin_s=0.5,
    histogram=(0, 3, 1),
    longest_s=1.2,
    characters={" ": 2, "<": 1, "A": 7},
    median_rate=14.0,
    usual_rates=(7.0, 28.0),
    num_outliers=70,
    outliers=(Outlier("u<1>", 90.0, 0.5, "TOO & MUCH"),),
)


def summary(*, num_skipped: int = 2, num_speakers: int = 3) -> PrepareSummary:
    split = SplitSummary(Path("m.jsonl.gz"), 4, num_speakers, 5, 7200.0, "", STATISTICS)
    skipped = tuple(Skipped(f"file {n}", "<broken>") for n in range(num_skipped))
    return PrepareSummary(
        Path("out"), {"train": split}, skipped, {"corpus": "nemo", "source": ["a", "b"]}
    )


def parse(text: str) -> ET.Element:
    """The page as XML, which what `element` writes is."""
    return ET.fromstring(text.partition("\n")[2])


def words(root: ET.Element, id_: str) -> str:
    (section,) = (one for one in root.iter("section") if one.get("id") == id_)
    return " ".join("".join(section.itertext()).split())


def test_every_part_is_on_the_page() -> None:
    text = page(summary(), changed=[Skipped("a.flac", "is gone")], unknown={"train": {"u": "<é"}})
    root = parse(text)
    assert [one.text for one in root.iter("h1")] == ["out: what was prepared"]
    assert "nemo: a, b" in [one.text for one in root.iter("p")]
    assert words(root, "splits").endswith("train42.0035" + "1.214.07.0 to 28.070")
    bars = [bar for bar in root.iter() if bar.tag.endswith("rect")]
    assert [bar.findtext("{*}title") for bar in bars] == [
        "0.5 to 1: 3 utterances",
        "1 to 1.5: 1 utterances",
    ]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)
    assert "u<1>90.00.50TOO & MUCH" in words(root, "rates")
    assert "spaceU+00202" in words(root, "characters")
    assert "The tokenizer does not know < é, which are in 1 utterances" in words(root, "characters")
    assert "2 in all:" in words(root, "skipped")
    assert "a.flacis gone" in words(root, "changed")
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_nothing_wrong_is_said_too() -> None:
    root = parse(page(summary(num_skipped=0, num_speakers=0), unknown={"train": {}}))
    assert "None." in words(root, "skipped")
    assert "None." in words(root, "changed")
    assert "train42.00unknown" in words(root, "splits")
    assert "knows every character" in words(root, "characters")


def test_long_lists_are_cut_and_counted() -> None:
    root = parse(page(summary(num_skipped=NUM_ROWS + 5)))
    assert f"{NUM_ROWS + 5} in all, the first {NUM_ROWS}:" in words(root, "skipped")
    assert f"file {NUM_ROWS - 1}<" in words(root, "skipped")
    assert f"file {NUM_ROWS}<" not in words(root, "skipped")
