from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.formats.kaldi import read_kaldi
from asr.data.manifest import read_manifest
from asr.data.prepare import RawUtterance, prepare_utterances
from asr.data.summary import PrepareSummary
from asr.errors import InputError

Tone = Callable[..., Path]


def silent(_: str) -> None:
    """No progress."""


def write_folder(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def prepare(folder: Path, out: Path) -> PrepareSummary:
    return prepare_utterances(read_kaldi([folder]), out, source="k", settings={}, report=silent)


def test_utterances_that_are_whole_files(
    tmp_path: Path, write_tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = write_tone(tmp_path / "my audio" / "a.flac")
    write_tone(tmp_path / "data" / "dev" / "b.wav")
    write_tone(tmp_path / "c.wav")
    folder = write_folder(
        tmp_path / "data" / "dev",
        wav_scp=f"a {audio}\nb b.wav\nc c.wav\n",
        text="a  ONE  TWO\nb THREE\nc FOUR\n",
        utt2spk="a ann\nb b\n",
    )
    monkeypatch.chdir(tmp_path)
    rows = [row for row in read_kaldi([folder]) if isinstance(row, RawUtterance)]
    assert [(row.utterance_id, row.split, row.speaker) for row in rows] == [
        ("a", "dev", "ann"),
        ("b", "dev", None),
        ("c", "dev", None),
    ]
    assert [row.audio_path for row in rows] == [audio, folder / "b.wav", Path("c.wav")]
    assert prepare(folder, tmp_path / "out").splits["dev"].num_words == 4


def test_tabs_are_spaces(tmp_path: Path, write_tone: Tone) -> None:
    audio = write_tone(tmp_path / "a b.wav", 3.0)
    folder = write_folder(
        tmp_path / "train",
        wav_scp=f"rec\t{audio}\n",
        text="u1\tONE  TWO\nu2 \t TH\u2028REE\x0bx\n",
        utt2spk="u1\tann\nu2\tbob\n",
        segments="u1\trec\t0.25\t1.75\nu2 rec\t2.0 \t2.5\n",
    )
    prepare(folder, tmp_path / "out")
    utterances = read_manifest(tmp_path / "out" / "train.jsonl.gz")
    assert [
        (
            utterance.utterance_id,
            utterance.text,
            utterance.speaker,
            utterance.start_s,
            utterance.duration_s,
        )
        for utterance in utterances
    ] == [
        ("u1", "ONE TWO", "ann", 0.25, 1.5),
        ("u2", "TH REE x", "bob", 2.0, 0.5),
    ]


def test_splits_may_have_utterances_of_one_name(tmp_path: Path, write_tone: Tone) -> None:
    folders = [
        write_folder(
            tmp_path / split,
            wav_scp=f"u0 {write_tone(tmp_path / f'{split}.wav')}\n",
            text="u0 ONE\n",
        )
        for split in ("train", "dev")
    ]
    out = tmp_path / "out"
    summary = prepare_utterances(read_kaldi(folders), out, source="k", settings={}, report=silent)
    assert {name: split.num_utterances for name, split in summary.splits.items()} == {
        "dev": 1,
        "train": 1,
    }
    assert not summary.skipped


def test_segments_of_recordings(tmp_path: Path, write_tone: Tone) -> None:
    audio = write_tone(tmp_path / "a.wav", 3.0)
    folder = write_folder(
        tmp_path / "train",
        wav_scp=f"rec {audio}\nunused {audio}\n",
        text="u1 ONE\nu2 TWO\nu3 THREE\nu4 FOUR\nu5 FIVE\nu6 SIX\n",
        segments="u1 rec 0.25 1.75\nu2 rec 2.5 -1\nu3 rec 2.0 1.0\nu4 rec x y\nu5 other 0 1\n",
    )
    summary = prepare(folder, tmp_path / "out")
    assert summary.splits["train"].num_utterances == 2
    assert summary.splits["train"].duration_s == pytest.approx(2.0)
    assert [row.reason for row in summary.skipped] == [
        "u3 lasts -1 s; more than 0 is allowed",
        "u4: its segment is not: recording, start, end in seconds",
        "no audio other in wav.scp",
        "no segment of u6",
        "audio unused without transcript",
    ]


def test_nothing_is_run(tmp_path: Path, write_tone: Tone) -> None:
    audio = write_tone(tmp_path / "a.wav")
    folder = write_folder(
        tmp_path / "train",
        wav_scp=f"a {audio}\nb touch {tmp_path}/ran |\nc raw.ark:17\nd nowhere.wav\n",
        text="a ONE\nb TWO\nc THREE\nd FOUR\na AGAIN\ne FIVE\nf\n",
    )
    summary = prepare(folder, tmp_path / "out")
    assert summary.splits["train"].num_utterances == 1
    assert not (tmp_path / "ran").exists()
    reasons = {row.where.rpartition("/")[2]: row.reason for row in summary.skipped}
    assert "wav.scp has a command, which is not run; make it a file" in reasons["text, line 2"]
    assert "wav.scp has a place in an archive" in reasons["text, line 3"]
    assert "no such audio file" in reasons["text, line 4"]
    assert "duplicated id a" in reasons["text, line 5"]
    assert reasons["text, line 6"] == "no audio e in wav.scp"
    assert reasons["text, line 7"] == "no audio f in wav.scp"


def test_folders_that_are_not_kaldi_s(tmp_path: Path) -> None:
    write_folder(tmp_path / "a" / "dev", text="u ONE\n")
    write_folder(tmp_path / "b" / "dev", text="u ONE\n")
    for folders, message in (
        (["none"], "is no folder"),
        (["a/dev"], r"wav\.scp is missing"),
        (["a/dev", "b/dev"], "two folders are named dev"),
    ):
        with pytest.raises(InputError, match=message):
            read_kaldi([tmp_path / folder for folder in folders])
