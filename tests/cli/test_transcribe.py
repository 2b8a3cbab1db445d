from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from asr.decode.timing import PARTS
from asr.encoder.stack import Encoder
from asr.types import EncoderOutput
from tests.decode.package import save_tiny_package, write_noise

from .runs import Command, asr_process, environment


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def asr(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_one_file_is_its_text(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 1.0)
    done = asr("transcribe", path, "--model", model)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    assert set(done.out.strip()) <= set(" 'acdghimnorst")
    assert done.out.strip()


@pytest.mark.parametrize("written_in", ["text", "json", "srt", "vtt", "ctm"])
def test_silence_is_empty(asr: Command, model: Path, tmp_path: Path, written_in: str) -> None:
    path = tmp_path / "a.wav"
    stereo = np.random.default_rng(0).integers(-1, 2, (40_000, 2)).astype(np.int16)
    soundfile.write(path, stereo, 8000)
    done = asr("transcribe", path, "--model", model, "--format", written_in)
    assert (done.code, done.err) == (0, "")
    if written_in == "json":
        assert (json.loads(done.out)["text"], json.loads(done.out)["words"]) == ("", [])
    else:
        assert done.out == {"text": "\n", "vtt": "WEBVTT\n\n"}.get(written_in, "")
    read = asr("transcribe", path, "--model", model, "--silence", "off")
    assert read.out.strip()


@pytest.mark.parametrize("level", ["5", "-1000", "nan", "quiet"])
def test_a_level_that_is_none(asr: Command, model: Path, level: str) -> None:
    done = asr("transcribe", "a.wav", "--model", model, f"--silence={level}")
    assert done.code == 2
    assert "--silence" in done.err
    assert "allowed: a number from -200 to 0, or off" in done.err


def test_several_files_are_named(asr: Command, model: Path, tmp_path: Path) -> None:
    paths = [write_noise(tmp_path / name, 1.0) for name in ("b.wav", "a.flac")]
    alone = [asr("transcribe", path, "--model", model).out for path in paths]
    done = asr("transcribe", *paths, "--model", model)
    assert done.code == 0
    assert done.out == "".join(f"{path}\t{text}" for path, text in zip(paths, alone, strict=True))


def test_json_has_the_words_with_their_times(asr: Command, model: Path, tmp_path: Path) -> None:
    paths = [write_noise(tmp_path / "a.wav", 1.0), write_noise(tmp_path / "b.wav", 2.0, 44_100)]
    text = asr("transcribe", *paths, "--model", model).out.splitlines()
    done = asr("transcribe", *paths, "--model", model, "--format", "json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["audio_path"] for row in rows] == [str(path) for path in paths]
    assert [row["duration_s"] for row in rows] == [1.0, 2.0]
    assert [f"{row['audio_path']}\t{row['text']}" for row in rows] == text
    for row in rows:
        assert row.keys() == {"audio_path", "duration_s", "text", "words", "confidence"}
        assert " ".join(word["word"] for word in row["words"]) == row["text"]
        assert row["words"]
        for word in row["words"]:
            assert 0 <= word["start_s"] < word["end_s"] <= row["duration_s"]


def test_a_beam_gives_its_best_texts(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 5.0)
    options = ("--format", "json", "--chunk", "3", "--overlap", "1", "--tokens-per-frame", "4")
    beam = ("--beam", "6", "--n-best", "3", "--skip-blank", "0.05")
    done = asr("transcribe", path, "--model", model, *options, *beam)
    assert done.code == 0
    assert re.fullmatch(r"beam search: 6 .* the best 4 .* [0-9.]+ % of the frames .*\n", done.err)
    found = json.loads(done.out)
    first, second = found["n_best"]
    assert (first["start_s"], second["end_s"]) == (0.0, 5.0)
    assert first["end_s"] - second["start_s"] == pytest.approx(1.0, abs=0.1)
    for chunk in (first, second):
        scores = [text["score"] for text in chunk["texts"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert [text["acoustic"] for text in chunk["texts"]] == scores
    assert found["text"][:10] == first["texts"][0]["text"][:10]


def test_hotwords_are_read(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 2.0)
    (tmp_path / "words.txt").write_text("cat\t2\n")
    texts = [
        asr("transcribe", path, "--model", model, "--beam", "100", *options).out.split()
        for options in (
            (),
            ("--hotwords", "cat", "--hotword-weight", "20"),
            ("--hotwords", tmp_path / "words.txt", "--hotword-weight", "10"),
        )
    ]
    assert "cat" not in texts[0]
    assert "cat" in texts[1]
    assert texts[1] == texts[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--n-best", "11", "--format", "json"), "a beam of 10 holds fewer"),
        (("--search", "greedy", "--skip-blank", "0.9"), "--skip-blank is not an option of"),
        (("--beam", "5", "--n-best", "3"), "--n-best 3 needs --format json"),
        (("--beam", "2", "--n-best", "3", "--format", "json"), "a beam of 2 holds fewer"),
        (
            ("--search", "greedy", "--hotwords", "cat"),
            "--hotwords: the search greedy takes none",
        ),
        (("--search", "beam", "--beam", "3"), "with --search give beam=N after its name"),
        (("--hotword-weight", "1"), "--hotword-weight needs --hotwords"),
        (("--beam", "2", "--hotwords", "cat,zebra"), "'zebra': the model cannot write b z"),
        (("--beam", "2", "--hotwords", "none.txt"), "none.txt"),
        (("--beam", "2", "--hotwords", ", ,"), "no words"),
        (("--beam", "0"), "--beam: '0': allowed: a whole number from 1 to 1,000"),
    ],
)
def test_options_of_a_beam_that_do_not_go(
    asr: Command, model: Path, options: tuple[str, ...], message: str
) -> None:
    done = asr("transcribe", "a.wav", "--model", model, *options)
    assert done.code == 2
    assert message in done.err


def test_subtitles_on_the_terminal(asr: Command, model: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["transcribe", write_noise(tmp_path / "a.wav", 3.0), "--model", model]
    text = asr(*words).out.split()
    assert text
    srt = asr(*words, "--format", "srt").out
    assert srt.startswith("1\n00:00:0")
    vtt = asr(*words, "--format", "vtt").out
    assert vtt.startswith("WEBVTT\n\n00:00:0")
    for subtitles in (srt, vtt.removeprefix("WEBVTT\n\n")):
        shown = [
            line for line in subtitles.splitlines() if "-->" not in line and not line.isdigit()
        ]
        assert " ".join(shown).split() == text
    ctm = [line.split() for line in asr(*words, "--format", "ctm").out.splitlines()]
    assert [line[4] for line in ctm] == text
    assert {(line[0], line[1]) for line in ctm} == {("a", "1")}


@pytest.mark.parametrize(
    ("form", "ending"),
    [("text", "txt"), ("json", "json"), ("srt", "srt"), ("vtt", "vtt"), ("ctm", "ctm")],
)
def test_a_file_for_each_recording(
    asr: Command, model: Path, tmp_path: Path, form: str, ending: str
) -> None:
    paths = [write_noise(tmp_path / name, 1.0) for name in ("b.wav", "a.flac")]
    alone = [asr("transcribe", path, "--model", model, "--format", form).out for path in paths]
    done = asr("transcribe", *paths, "--model", model, "--format", form, "--out", tmp_path / "new")
    assert (done.code, done.out) == (0, "")
    written = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert written == {f"b.{ending}": alone[0], f"a.{ending}": alone[1]}


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_of_several_files_need_a_folder(
    asr: Command, model: Path, tmp_path: Path, form: str
) -> None:
    paths = [write_noise(tmp_path / name, 0.5) for name in ("b.wav", "a.wav")]
    error = asr("transcribe", *paths, "--model", model, "--format", form).error
    assert f"--format {form} of several files needs --out DIR, for a file each" in error


def test_two_recordings_of_one_name(asr: Command, model: Path, tmp_path: Path) -> None:
    paths = [write_noise(tmp_path / name, 0.5) for name in ("a.flac", "a.wav")]
    out = tmp_path / "new"
    error = asr("transcribe", *paths, "--model", model, "--out", out).error
    assert f"{paths[0]} and {paths[1]} would both be written to a.txt; transcribe them" in error
    assert not out.exists()


@pytest.mark.gpu
def test_replayed_recordings_read_the_same(asr: Command, model: Path, tmp_path: Path) -> None:
    audio = write_noise(tmp_path / "a.wav", 5.0)
    plain, replayed = (
        asr(
            *("transcribe", audio, "--model", model, "--device", "cuda"),
            *("--chunk", "1", "--overlap", "0", "--batch-duration", "1", *graphs),
        )
        for graphs in ((), ("--cuda-graphs",))
    )
    assert replayed.out == plain.out
    assert replayed.err.startswith("CUDA graphs: ")
    assert "0 of" not in replayed.err


def test_an_exported_model_has_its_dtype(asr: Command, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 0.5)
    error = asr("transcribe", path, "--model", "m.onnx", "--dtype", "bfloat16").error
    assert "m.onnx computes in its exported dtype; --dtype needs a model folder" in error


def test_a_bad_file_does_not_stop_the_others(asr: Command, model: Path, tmp_path: Path) -> None:
    good = write_noise(tmp_path / "a.wav", 1.0)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound in here\n" * 10)
    files = (tmp_path / "none.wav", good, tmp_path / "empty.wav", tmp_path / "text.wav", good)
    done = asr("transcribe", *files, "--model", model)
    assert done.code == 2
    assert [line.partition("\t")[0] for line in done.out.splitlines()] == [str(good)] * 2
    named = done.err.splitlines()
    listed = ", ".join(str(files[index]) for index in (0, 2, 3))
    assert named.pop() == f"asr transcribe: 3 of 5 files could not be read: {listed}"
    assert len(named) == 3
    assert all(line.startswith("asr transcribe: error: ") for line in named)
    for line, name in zip(named, ("none.wav", "empty.wav", "text.wav"), strict=True):
        assert name in line


def test_long_audio_is_cut_as_asked(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 12.0)
    words: list[str | Path] = ["transcribe", path, "--model", model, "--format", "json"]
    whole = json.loads(asr(*words).out)
    cut = json.loads(asr(*words, "--chunk", "3", "--overlap", "0.5").out)
    assert whole["duration_s"] == cut["duration_s"] == 12.0
    assert whole["words"][-1]["end_s"] > 10
    assert cut["words"][-1]["end_s"] > 10


def test_without_chunks_a_recording_is_encoded_whole(
    asr: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_noise(tmp_path / "a.wav", 70.0)
    lengths: list[int] = []
    forward = Encoder.forward

    def counted(self: Encoder, features: Tensor, *rest: Any, **options: Any) -> EncoderOutput:
        lengths.append(features.shape[1])
        return forward(self, features, *rest, **options)

    monkeypatch.setattr(Encoder, "forward", counted)
    whole = asr("transcribe", path, "--model", model, "--chunk", "none")
    assert whole.code == 0
    (length,) = lengths
    assert 6998 <= length <= 7000  # batches are padded to few shapes
    lengths.clear()
    assert asr("transcribe", path, "--model", model, "--no-vad").code == 0
    assert max(lengths) <= 3000
    refused = asr("transcribe", path, "--model", model, "--chunk", "all")
    assert "allowed: a number above 0, to 7,200, or none" in refused.err


def test_of_500_files_ten_are_bad(asr: Command, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    for number in range(500):
        write_noise(folder / f"{number:03d}.wav", 0.2)
    bad = [folder / f"{number:03d}.wav" for number in range(25, 500, 50)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:20])
    done = asr("transcribe", folder, "--model", model, "--out", tmp_path / "out")
    assert done.code == 2
    written = {path.stem for path in (tmp_path / "out").iterdir()}
    assert len(written) == 490
    assert written.isdisjoint(path.stem for path in bad)
    summary, listed = done.err.splitlines()[-2:]
    assert summary.startswith(
        "asr transcribe: 490 of 500 files transcribed, 1 min 38 s of audio in "
    )
    assert summary.endswith(" times real time")
    named = ", ".join(map(str, bad))
    assert listed == f"asr transcribe: 10 of 500 files could not be read: {named}"


def test_damage_behind_the_first_chunks_is_that_of_its_file_alone(
    asr: Command, model: Path, tmp_path: Path
) -> None:
    good = write_noise(tmp_path / "a.flac", 9.0)
    bad = write_noise(tmp_path / "b.flac", 200.0)
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    options = ("--model", model, "--chunk", "3", "--overlap", "1")
    alone = asr("transcribe", good, *options).out
    done = asr("transcribe", bad, good, bad, *options, "--strict")
    assert done.code == 2
    assert done.out == f"{good}\t{alone}"
    *named, counted = done.err.splitlines()
    assert counted == f"asr transcribe: 2 of 3 files could not be read: {bad}, {bad}"
    broke = f"asr transcribe: error: {bad}: damaged or cut short: decodes up to 99."
    assert len(named) == 2
    assert all(line.startswith(broke) for line in named)
    done = asr("transcribe", bad, good, *options)
    assert done.code == 0
    read, same = done.out.splitlines()
    assert same == f"{good}\t{alone.strip()}"
    assert read.startswith(f"{bad}\t")
    assert done.err.startswith(broke.replace("error", "warning"))
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input(model: Path, tmp_path: Path, name: str) -> None:
    path = write_noise(tmp_path / "a.wav", 1.0)
    words = [sys.executable, "-m", "asr", "transcribe", name, "--model", str(model)]
    with path.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=-1) as cat:
        piped = subprocess.run(words, stdin=cat.stdout, capture_output=True, env=environment())
    with path.open("rb") as file:
        given = subprocess.run(words, stdin=file, capture_output=True, env=environment())
    assert piped.stderr == given.stderr == b""
    assert piped.stdout == given.stdout
    assert piped.stdout.strip()


def test_channels(asr: Command, model: Path, tmp_path: Path) -> None:
    sides = [
        write_noise(tmp_path / f"{name}.wav", duration_s)
        for name, duration_s in zip("lr", (2.0, 2.0), strict=True)
    ]
    left, right = (soundfile.read(path)[0] for path in sides)
    right = right[::-1].copy()
    both = tmp_path / "both.wav"
    soundfile.write(both, np.stack([left, right], axis=1), 16_000)
    soundfile.write(sides[1], right, 16_000)
    options = ("--model", model, "--format")
    alone = [json.loads(asr("transcribe", side, *options, "json").out) for side in sides]
    assert alone[0]["text"] != alone[1]["text"]

    split = ("transcribe", both, "--channels", "split", *options)
    rows = [json.loads(line) for line in asr(*split, "json").out.splitlines()]
    assert [row.pop("channel") for row in rows] == [1, 2]
    assert [row["text"] for row in rows] == [row["text"] for row in alone]
    for number, row in enumerate(alone, 1):
        done = asr("transcribe", both, "--channels", str(number), *options, "json")
        one = json.loads(done.out)
        assert (one["channel"], one["text"]) == (number, row["text"])

    assert asr(*split, "text").out == "".join(
        f"channel {number}\t{row['text']}\n" for number, row in enumerate(alone, 1)
    )
    marks = [line.split() for line in asr(*split, "ctm").out.splitlines()]
    for number, row in enumerate(alone, 1):
        words = [word for _, channel, _, _, word, _ in marks if channel == str(number)]
        assert words == row["text"].split()
    for name in ("srt", "vtt"):
        shown = asr(*split, name).out
        starts = re.findall(r"(\S+) --> ", shown)
        assert starts == sorted(starts)
        assert "channel 1" in shown
        assert "channel 2" in shown

    many = asr("transcribe", both, sides[0], "--channels", "split", *options, "text")
    assert [line.split("\t")[:2] for line in many.out.splitlines()[:2]] == [
        [str(both), "channel 1"],
        [str(both), "channel 2"],
    ]
    assert many.out.splitlines()[2] == f"{sides[0]}\t{alone[0]['text']}"
    done = asr("transcribe", both, sides[0], "--channels", "2", *options, "text")
    assert done.code == 2
    assert f"{sides[0]}: has no channel 2; it has one" in done.err
    error = asr("transcribe", both, "--channels", "left", "--model", model).error
    assert "mix or split" in error


def test_channels_that_cancel(asr: Command, model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 2.0)
    left, rate_hz = soundfile.read(path)
    soundfile.write(path, np.stack([left, -left], axis=1), rate_hz)
    done = asr("transcribe", path, "--model", model)
    assert done.code == 0
    assert done.err.startswith(f"asr transcribe: warning: {path}: the channels cancel one another")
    assert asr("transcribe", path, "--model", model, "--channels", "1").err == ""


def test_names_that_begin_with_a_dash(
    asr: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-a.wav", "--model"):
        write_noise(tmp_path / "x.wav", 0.5).rename(name)
    done = asr("transcribe", "--model", model, "--", "-a.wav", "--model")
    assert (done.code, done.err) == (0, "")
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["-a.wav", "--model"]


def test_names_as_long_as_they_may_be(asr: Command, model: Path, tmp_path: Path) -> None:
    stems = ["a" * 251, "b" * 250, "é" * 125, "c"]
    first = write_noise(tmp_path / "x.wav", 0.5)
    paths = [tmp_path / f"{stem}.wav" for stem in stems]
    for path in paths:
        path.write_bytes(first.read_bytes())
    out = tmp_path / "out"
    done = asr("transcribe", *paths, "--model", model, "--format", "json", "--out", out)
    assert (done.code, done.err.count("\n")) == (0, 1)
    rows = {json.loads(path.read_text())["audio_path"]: path.name for path in out.iterdir()}
    assert rows.keys() == set(map(str, paths))
    assert rows[str(paths[1])] == "b" * 250 + ".json"
    assert re.fullmatch("a{237}~[0-9a-f]{12}.json", rows[str(paths[0])])


def test_names_are_shown_and_never_obeyed(asr: Command, model: Path, tmp_path: Path) -> None:
    good = write_noise(tmp_path / "a.wav", 0.5).rename(tmp_path / "red\x1b[31m\nline.wav")
    bad = tmp_path / "bad\x1b[2J\n.wav"
    bad.touch()
    done = asr("transcribe", good, bad, "--model", model)
    assert done.code == 2
    assert done.out.startswith(str(tmp_path / r"red\x1b[31m\nline.wav") + "\t")
    assert done.out.count("\n") == 1
    assert r"bad\x1b[2J\n.wav: not readable as audio" in done.err
    assert "\x1b" not in done.out + done.err


@pytest.mark.parametrize(
    "options",
    [("--num-threads", "3"), ("--batch-duration", "2"), ("--batch-duration", "1000")],
)
def test_threads_and_batches_do_not_change_the_words(
    asr: Command, model: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    files = [
        write_noise(tmp_path / f"{name}.wav", duration_s)
        for name, duration_s in (("a", 11.3), ("b", 0.4), ("c", 2.9), ("d", 7.0), ("e", 0.01))
    ]
    words: list[str | Path] = ["transcribe", *files, "--model", model, "--format", "json"]
    words += ["--chunk", "3", "--overlap", "1"]
    threads = torch.get_num_threads()
    alone = [asr("transcribe", path, *words[6:]).out for path in files]
    try:
        together = asr(*words, *options).out
    finally:
        torch.set_num_threads(threads)
    assert together == "".join(alone)


def test_the_time_is_told(asr: Command, model: Path, tmp_path: Path) -> None:
    files = [write_noise(tmp_path / f"{name}.wav", 2.5) for name in "ab"]
    words = ("--model", str(model), "--timing", "--chunk", "1", "--overlap", "0.2")
    done = asr("transcribe", *files, *words)
    (line,) = done.err.splitlines()
    assert line.startswith("5.0 s of audio in ")
    shares = [int(share) for share in re.findall(r"(\d+) %", line)]
    assert len(shares) == len(PARTS)
    assert 98 <= sum(shares) <= 102
    done = asr("transcribe", *files, *words, "--format", "json")
    timing = json.loads(done.err)
    assert timing["audio_s"] == 5.0
    assert timing["real_time_factor"] == pytest.approx(timing["wall_s"] / 5)
    assert timing["work_s"].keys() == timing["shares"].keys() == set(PARTS)
    assert all(share > 0 for share in timing["shares"].values())
    assert sum(timing["work_s"].values()) < timing["wall_s"] * (timing["num_threads"] + 1)


def test_the_encoder_computes_in_the_dtype_asked_for(
    asr: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_noise(tmp_path / "a.wav", 1.0)
    seen: list[Tensor] = []
    encode = Encoder.forward

    def forward(self: Encoder, *args: Any) -> EncoderOutput:
        output = encode(self, *args)
        seen.append(output.frames_BTD)
        return output

    monkeypatch.setattr(Encoder, "forward", forward)
    monkeypatch.setattr("asr.encoder.precision.best_dtype", lambda device: "bfloat16")
    for dtype in ("float32", "auto", "bfloat16", "int8"):
        assert asr("transcribe", path, "--model", model, "--dtype", dtype).code == 0
    assert asr("transcribe", path, "--model", model).code == 0
    float32, *halves, int8, by_default = seen
    assert [one.dtype for one in seen] == [
        *(torch.float32, torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16)
    ]
    for found in (*halves, int8, by_default):
        assert not torch.equal(found.float(), float32)
        torch.testing.assert_close(found.float(), float32, atol=0.2, rtol=0.05)


def test_it_runs_from_any_folder_and_needs_no_config(model: Path, tmp_path: Path) -> None:
    write_noise(tmp_path / "a.wav", 0.5)
    done = asr_process(["transcribe", "a.wav", "--model", model], tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip()
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav"}


def test_it_loads_no_training_code(model: Path, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.wav", 0.5)
    script = (
        "import sys\n"
        "from asr.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "transcribe", path, "--model", model],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    loaded = set(done.stderr.split())
    assert {"torch", "soundfile", "sentencepiece", "asr"} <= loaded
    unwanted = {"lightning", "pytorch_lightning", "lhotse", "hydra", "omegaconf", "tensorboard"}
    assert not loaded & (unwanted | {"jiwer", "torchaudio"}) - {"torchaudio"}


def test_speakers_by_turns(asr: Command, model: Path, tmp_path: Path) -> None:
    paths = [write_noise(tmp_path / name, 2.0) for name in ("a.wav", "b.wav")]
    turns = tmp_path / "turns.rttm"
    turns.write_text("SPEAKER a 1 0 2 <NA> <NA> anna <NA> <NA>\n")
    said = asr("transcribe", paths[0], "--model", model).out
    done = asr("transcribe", *paths, "--model", model, "--speakers", turns)
    assert done.code == 0
    assert done.out.startswith(f"{paths[0]}\tanna\t{said}")
    assert f"warning: {paths[1]}: {turns} has no turn of it" in done.err
    for more, message in (
        (("--channels", "split"), "--speakers and --channels split"),
        (("--shards", "2", "--out", tmp_path / "out"), "--speakers has no effect with --shards"),
    ):
        refused = asr("transcribe", *paths, "--model", model, "--speakers", turns, *more)
        assert refused.code == 2
        assert message in refused.err
