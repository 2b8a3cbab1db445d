from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.decode.package import save_tiny_package, write_noise

from .runs import Command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, one of them a folder below, one called as another; and no audio."""
    folder = tmp_path / "talks"
    write_noise(folder / "a.wav", 0.5)
    write_noise(folder / "b.flac", 0.5).rename(folder / "B.FLAC")
    write_noise(folder / "day 2" / "a.wav", 0.5)
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "model").symlink_to(model)
    return Command(capsys)


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_its_audio_files(asr: Command) -> None:
    done = asr("transcribe", "talks", "--model", "model")
    assert done.code == 0
    assert [line.partition("\t")[0] for line in done.out.splitlines()] == [
        *("talks/B.FLAC", "talks/a.wav")
    ]


def test_files_below_keep_their_places(asr: Command) -> None:
    words = ("transcribe", "talks", "--recursive", "--model", "model", "--format", "tsv")
    assert asr(*words, "--out", "out").code == 0
    assert written(Path("out")) == ["B.tsv", "a.tsv", "day 2/a.tsv"]
    head, *rows = Path("out/day 2/a.tsv").read_text().splitlines()
    assert head == "start\tend\ttext"
    for row in rows:
        start, end, text = row.split("\t")
        assert int(start) < int(end)
        assert text


def test_files_are_written_beside_them_and_left_out_the_next_time(asr: Command) -> None:
    words = ("transcribe", "talks", "--recursive", "--model", "model", "--beside")
    assert asr(*words).code == 0
    assert {"a.txt", "B.txt", "day 2/a.txt"} < set(written(Path("talks")))
    Path("talks/a.txt").unlink()
    Path("talks/B.txt").write_text("mine")
    assert asr(*words, "--skip-existing").code == 0
    assert Path("talks/B.txt").read_text() == "mine"
    assert Path("talks/a.txt").read_text() != "mine"


def test_paths_come_from_a_list_or_standard_input(
    asr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = "talks/day 2/a.wav\n\ntalks/a.wav\n"
    Path("list.txt").write_text(paths)
    from_file = asr("transcribe", "--list", "list.txt", "--model", "model")
    monkeypatch.setattr("sys.stdin", io.StringIO(paths))
    from_stdin = asr("transcribe", "--list", "-", "--model", "model")
    assert from_file.code == 0
    assert from_file.out == from_stdin.out
    assert [line.partition("\t")[0] for line in from_file.out.splitlines()] == [
        *("talks/day 2/a.wav", "talks/a.wav")
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no recording named; give files, folders or --list FILE"),
        (
            ("empty",),
            "empty: is a folder without an audio file (with --recursive those in its folders",
        ),
        (("talks", "--skip-existing"), "--skip-existing needs --out DIR or --beside"),
        (("talks", "--out", "o", "--beside"), "--out and --beside: give one of them"),
        (("talks", "talks/day 2/a.wav", "--out", "o"), "would both be written to a.txt"),
        (("talks", "--format", "srt"), "--format srt of several files needs --out DIR"),
        (("--list", "none.txt"), "none.txt: cannot be read"),
        (("talks", "--cue-width", "30"), "--cue-width has no effect on --format text"),
    ],
)
def test_arguments_that_do_not_go(asr: Command, words: tuple[str, ...], said: str) -> None:
    Path("empty").mkdir()
    assert said in asr("transcribe", *words, "--model", "model").error
    assert not Path("o").exists()


def test_subtitles_keep_to_their_limits(asr: Command) -> None:
    write_noise(Path("long.wav"), 20.0)
    done = asr(
        *("transcribe", "long.wav", "--model", "model", "--format", "srt"),
        *("--cue-width", "12", "--cue-lines", "1"),
    )
    assert done.code == 0
    for cue in done.out.strip().split("\n\n"):
        assert len(cue.split("\n")) == 3
