from __future__ import annotations

import xml.etree.ElementTree as ET

from asr.report.pages.corpus import NUM_ROWS, Split, StatisticsRow, Summary, corpus_page

STATISTICS = StatisticsRow(
    bin_s=0.5,
    histogram=(0, 3, 1),
    longest_s=1.2,
    characters={" ": 2, "<": 1, "A": 7},
    median_rate=14.0,
    usual_rates=(7.0, 28.0),
    num_outliers=70,
    outliers=[
        {"utterance_id": "u<1>", "characters_per_s": 90.0, "duration_s": 0.5, "text": "TOO & MUCH"}
    ],
)


def summary(*, num_skipped: int = 2, num_speakers: int = 3) -> Summary:
    split = Split(
        num_utterances=4,
        num_speakers=num_speakers,
        num_words=5,
        duration_s=7200.0,
        statistics=STATISTICS,
    )
    return Summary(
        splits={"train": split},
        skipped=[{"where": f"file {n}", "reason": "<broken>"} for n in range(num_skipped)],
        settings={"corpus": "nemo", "source": ["a", "b"]},
    )


def parse(text: str) -> ET.Element:
    """The page is well-formed XML."""
    return ET.fromstring(text.partition("\n")[2])


def words(root: ET.Element, id_: str) -> str:
    (section,) = (one for one in root.iter("section") if one.get("id") == id_)
    return " ".join("".join(section.itertext()).split())


def test_every_part_is_on_the_page() -> None:
    text = corpus_page(
        "out",
        summary(),
        changed=[{"where": "a.flac", "reason": "is gone"}],
        unknown={"train": {"u": "<é"}},
    )
    root = parse(text)
    assert [one.text for one in root.iter("h1")] == ["out: what was prepared"]
    assert "nemo: a, b" in [one.text for one in root.iter("p")]
    assert words(root, "splits").endswith("train 4 2.00 3 5 1.2 14.0 7.0 to 28.0 70")
    bars = [group for group in root.iter() if group.get("class") == "segment"]
    assert [bar.findtext("{*}title") for bar in bars] == [
        "0.5 to 1: 3 utterances",
        "1 to 1.5: 1 utterances",
    ]
    assert "u<1> 90.0 0.50 TOO & MUCH" in words(root, "rates")
    assert "space U+0020 2" in words(root, "characters")
    assert "The tokenizer does not know < é, which are in 1 utterances" in words(root, "characters")
    assert "2 in all:" in words(root, "skipped")
    assert "a.flac is gone" in words(root, "changed")
    assert "http://" not in text.replace("http://www.w3.org/", "")


def test_nothing_wrong_is_said_too() -> None:
    root = parse(corpus_page("out", summary(num_skipped=0, num_speakers=0), unknown={"train": {}}))
    assert "None." in words(root, "skipped")
    assert "None." in words(root, "changed")
    assert "train 4 2.00 unknown" in words(root, "splits")
    assert "knows every character" in words(root, "characters")


def test_long_lists_are_cut_and_counted() -> None:
    root = parse(corpus_page("out", summary(num_skipped=NUM_ROWS + 5)))
    assert f"{NUM_ROWS + 5} in all, the first {NUM_ROWS}:" in words(root, "skipped")
    assert f"file {NUM_ROWS - 1} <" in words(root, "skipped")
    assert f"file {NUM_ROWS} <" not in words(root, "skipped")
