from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lhotse.recipes
import pytest
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from asr.data.corpora.recipes import recipe_names, recipe_utterances
from asr.data.prepare import RawUtterance, prepare_utterances
from asr.data.summary import Skipped
from asr.errors import InputError


def silent(_: str) -> None:
    """No progress."""


@pytest.fixture
def ljspeech(tmp_path: Path, write_tone: Callable[..., Path]) -> Path:
    folder = tmp_path / "LJSpeech-1.1"
    names = [f"LJ001-{number:04d}" for number in range(30)]
    for name in names:
        write_tone(folder / "wavs" / f"{name}.wav")
    rows = "".join(f"{name}|Said in 1 line.|Said in one line.\n" for name in names)
    (folder / "metadata.csv").write_text(rows)
    return folder


def take(
    name: str, *sources: str | Path, folder: Path, **options: Any
) -> list[RawUtterance | Skipped]:
    texts = list(map(str, sources))
    return recipe_utterances(name, texts, options=options, folder=folder / "lhotse", num_jobs=1)


def test_a_corpus_without_splits_is_cut(ljspeech: Path, tmp_path: Path) -> None:
    (ljspeech / "wavs" / "LJ001-0003.wav").write_bytes(b"RIFF")
    (ljspeech / "wavs" / "LJ001-0004.wav").unlink()
    with pytest.raises(InputError, match=r"lhotse's recipe ljspeech failed \(\w+\): .*LJ001-0003"):
        take("ljspeech", ljspeech, folder=tmp_path)
    (ljspeech / "wavs" / "LJ001-0003.wav").unlink()
    rows = take("ljspeech", ljspeech, folder=tmp_path)
    summary = prepare_utterances(rows, tmp_path / "out", source="lj", settings={}, report=silent)
    assert sum(split.num_utterances for split in summary.splits.values()) == 28
    assert set(summary.splits) == {"train", "dev", "test"}
    first = rows[0]
    assert isinstance(first, RawUtterance)
    assert (first.utterance_id, first.text) == ("LJ001-0000", "Said in 1 line.")
    assert (first.start_s, first.duration_s, first.speaker) == (0.0, None, None)
    assert first.audio_path == ljspeech / "wavs" / "LJ001-0000.wav"


def test_real_recordings_through_the_recipe_of_librispeech(
    speech_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "LibriSpeech").mkdir()
    for part, split in (("dev-clean", "dev"), ("test-other", "test-other")):
        (tmp_path / "LibriSpeech" / part).symlink_to(speech_dir / "librispeech" / split)
    rows = take("librispeech", tmp_path / "LibriSpeech", folder=tmp_path)
    raw = [row for row in rows if isinstance(row, RawUtterance)]
    by_split = {
        part: [one for one in raw if one.split == part] for part in ("dev-clean", "test-other")
    }
    assert {part: len(found) for part, found in by_split.items()} == {
        "dev-clean": 20,
        "test-other": 30,
    }
    assert {row.speaker for row in by_split["test-other"]} == {"367", "3331", "2033"}


def test_wrong_options_and_sources(ljspeech: Path, tmp_path: Path) -> None:
    assert {"ljspeech", "tedlium", "commonvoice", "single_babel_language"} <= set(recipe_names())
    with pytest.raises(InputError, match=r"has no option language; it has \['corpus_dir'\]"):
        take("ljspeech", ljspeech, folder=tmp_path, language="en")
    with pytest.raises(InputError, match="2 sources are too many"):
        take("ljspeech", ljspeech, ljspeech, folder=tmp_path)
    with pytest.raises(InputError, match="needs transcript_dir"):
        take("heroico", ljspeech, folder=tmp_path)
    with pytest.raises(InputError, match=r"failed \(AssertionError\): No such directory: nowhere"):
        take("ljspeech", "nowhere", folder=tmp_path)


def recording(name: str, *, kind: str = "file") -> Recording:
    if kind == "file":
        return Recording.from_file(name)
    return Recording.from_dict(
        {
            "id": Path(name).stem,
            "sources": [{"type": kind, "channels": [0], "source": name}],
            "sampling_rate": 16_000,
            "num_samples": 8_000,
            "duration": 0.5,
        }
    )


def said(name: str, of: str, *, start: float = 0.0, duration: float = 0.5, **more: Any) -> Any:
    return SupervisionSegment(
        **{
            "id": name,
            "recording_id": of,
            "start": start,
            "duration": duration,
            "text": "A",
            **more,
        }
    )


def test_what_cannot_be_read_unchanged_is_named(
    tmp_path: Path, write_tone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mono = str(write_tone(tmp_path / "mono.wav", 2.0))
    stereo = str(write_tone(tmp_path / "stereo.wav", channels=2))
    recordings = RecordingSet.from_recordings(
        [
            recording(mono),
            recording(stereo),
            recording("sox x.sph |", kind="command"),
            recording(str(write_tone(tmp_path / "slow.wav"))).perturb_speed(0.9),
        ]
    )
    supervisions = SupervisionSet.from_segments(
        [
            said("stretch", "mono", start=0.5, speaker="ann"),
            said("silent", "mono", text=None),
            said("backward", "mono", start=1.0, duration=-0.5),
            said("left", "stereo", channel=0),
            said("both", "stereo", channel=[0, 1]),
            said("lost", "nowhere"),
            said("command", "sox x", channel=0),
            said("slow", "slow_sp0.9"),
        ]
    )
    result = {"en": {"train": {"recordings": recordings, "supervisions": supervisions}}}
    monkeypatch.setattr(lhotse.recipes, "prepare_mine", lambda: result, raising=False)
    summary = prepare_utterances(
        take("mine", folder=tmp_path), tmp_path / "out", source="mine", settings={}, report=silent
    )
    assert summary.splits["en-train"].num_utterances == 2
    reasons = {row.where.removeprefix("lhotse mine, "): row.reason for row in summary.skipped}
    for name, reason in {
        "silent": "empty transcript",
        "backward": "lasts -0.5 s",
        "left": "speaks on channel 0 of 2",
        "lost": "no recording nowhere",
        "command": "is a command; only files are read",
        "slow": "is changed on reading",
    }.items():
        assert reason in reasons.pop(name)
    assert not reasons


@pytest.mark.parametrize("shape", ["cuts", "tuple", "flat"])
def test_recipes_return_what_they_like(
    shape: str, tmp_path: Path, write_tone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recording(str(write_tone(tmp_path / "a.wav", 2.0)))
    segment = said("u", "a", start=0.25, duration=1.0)
    sets = RecordingSet.from_recordings([one]), SupervisionSet.from_segments([segment])
    cut = MonoCut(id="c", start=0.0, duration=2.0, channel=0, recording=one, supervisions=[segment])
    result = {
        "cuts": {"train": {"cuts": CutSet.from_cuts([cut])}},
        "tuple": sets,
        "flat": dict(zip(("recordings", "supervisions"), sets, strict=True)),
    }[shape]
    monkeypatch.setattr(lhotse.recipes, "prepare_mine", lambda: result, raising=False)
    (row,) = take("mine", folder=tmp_path)
    assert isinstance(row, RawUtterance)
    assert (row.utterance_id, row.start_s, row.duration_s) == ("u", 0.25, 1.0)
    assert row.split == ("train" if shape == "cuts" else None)


def test_a_recipe_without_transcripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"noise": {"recordings": RecordingSet.from_recordings([])}}
    monkeypatch.setattr(
        lhotse.recipes, "prepare_mine", lambda corpus_dir, output_dir: result, raising=False
    )
    with pytest.raises(InputError, match="lhotse's recipe mine gives no transcripts for noises"):
        take("mine", "noises", folder=tmp_path)
    assert (tmp_path / "lhotse").is_dir()
