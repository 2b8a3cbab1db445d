"""What the library reads besides paths: samples, bytes, files, lists; progress and threads."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import asr
from asr.types import Waveform
from tests.model.configs import SAMPLE_RATE_HZ

from .package import noise, save_tiny_package


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> asr.Transcriber:
    folder = save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")
    return asr.load(folder, chunk_s=3, overlap_s=1, batch_s=3)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of 16 bit samples."""
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, noise(5.0).samples, SAMPLE_RATE_HZ)
    return path


def int16(path: Path) -> Any:
    return soundfile.read(path, dtype="int16")[0]


def float32(path: Path) -> Any:
    return soundfile.read(path, dtype="float32")[0]


class Pipe(io.RawIOBase):
    """An object that reads and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


KINDS: dict[str, Callable[[Path], Any]] = {
    "text": str,
    "bytes": lambda path: path.read_bytes(),
    "file": lambda path: path.open("rb"),
    "memory": lambda path: io.BytesIO(path.read_bytes()),
    "pipe": lambda path: Pipe(path.read_bytes()),
    "waveform": lambda path: Waveform(float32(path), SAMPLE_RATE_HZ),
    "float": lambda path: (float32(path), SAMPLE_RATE_HZ),
    "double": lambda path: (float32(path).astype(np.float64), SAMPLE_RATE_HZ),
    "int16": lambda path: (int16(path), SAMPLE_RATE_HZ),
    "int32": lambda path: (int16(path).astype(np.int32) << 16, SAMPLE_RATE_HZ),
    "tensor": lambda path: (torch.from_numpy(float32(path)), SAMPLE_RATE_HZ),
    "columns": lambda path: (np.stack([float32(path)] * 2, axis=1), SAMPLE_RATE_HZ),
    "rows": lambda path: (np.stack([float32(path)] * 2), SAMPLE_RATE_HZ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_audio_reads_the_same(model: asr.Transcriber, path: Path, kind: str) -> None:
    expected = model.transcribe(path)
    assert expected.text
    found = model.transcribe(KINDS[kind](path))
    assert (found.text, found.words) == (expected.text, expected.words)
    assert found.duration_s == 5.0


def test_samples_with_their_rate_and_lists(model: asr.Transcriber, path: Path) -> None:
    alone = model.transcribe(path)
    assert model.transcribe(float32(path), SAMPLE_RATE_HZ).text == alone.text
    many = model.transcribe([path, (float32(path), SAMPLE_RATE_HZ), path.read_bytes()])
    assert [one.text for one in many] == [alone.text] * 3
    assert many[0].audio_path == str(path)
    assert model.transcribe([]) == []


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (3, "audio of type int; allowed: a path, bytes, a file open in binary"),
        (np.zeros(9, np.float32), "array: samples need their rate"),
        ((np.zeros(9, np.float32), 10), "sample rate of 10 Hz; allowed"),
        ((np.zeros(9, np.float32), 8000.5), "sample rate of 8000.5 Hz"),
        ((np.zeros(0, np.float32), 8000), "samples of shape 0; allowed"),
        ((np.zeros((3, 4, 5), np.float32), 8000), "samples of shape 3x4x5"),
        ((np.float32(1), 8000), "samples of shape no dimension"),
        ((np.full(9, np.nan), 8000), "NaN or infinite samples"),
        ((np.array(["a", "b"]), 8000), "samples of type <U1"),
        (b"no sound in here", "bytes: not readable as audio"),
        (b"", "bytes: not readable as audio"),
        (io.StringIO("text"), "open it in binary"),
    ],
)
def test_audio_that_is_none(model: asr.Transcriber, audio: Any, said: str) -> None:
    with pytest.raises(asr.InputError, match=said):
        model.transcribe(audio)
    (error,) = model.each([audio])
    assert isinstance(error, asr.InputError)


def test_a_list_goes_on_behind_a_bad_recording(model: asr.Transcriber, path: Path) -> None:
    found = list(model.each([path, b"none", path]))
    assert isinstance(found[1], asr.InputError)
    assert found[0] == found[2]


def test_progress_comes_to_the_whole(model: asr.Transcriber, path: Path) -> None:
    seen: list[asr.Progress] = []
    model.transcribe([path, (float32(path), SAMPLE_RATE_HZ)], progress=seen.append)
    assert len(seen) >= 4
    assert {(one.total_s, one.num_all) for one in seen} == {(10.0, 2)}
    done_s = [one.done_s for one in seen]
    assert done_s == sorted(done_s)
    assert 0 < done_s[0] < done_s[-1] == 10.0
    assert (seen[0].num_done, seen[-1].num_done) == (0, 2)


def test_threads_share_a_model(model: asr.Transcriber, path: Path) -> None:
    """Words, the number of torch's threads and the hooks of the model stay as they were."""
    waveforms = [
        Waveform(noise(2.0 + index / 3, seed=index).samples, SAMPLE_RATE_HZ) for index in range(8)
    ]
    alone = [model.transcribe(waveform) for waveform in waveforms]
    assert len({one.words for one in alone}) == len(waveforms)
    num_threads = torch.get_num_threads()
    together = threading.Barrier(4)

    def read(number: int) -> list[asr.Transcript]:
        together.wait(10)
        return [model.transcribe(waveform) for waveform in waveforms[number:]]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(4)))
    assert found == [alone[number:] for number in range(4)]
    assert torch.get_num_threads() == num_threads
    frontend = model.package.model.frontend
    assert not frontend._forward_hooks
    assert not frontend._forward_pre_hooks


def test_segments_end_at_pauses(model: asr.Transcriber, path: Path) -> None:
    words = tuple(
        asr.TimedWord(word, start_s, start_s + 0.4)
        for word, start_s in (("a", 0.0), ("b", 0.5), ("c", 1.6), ("d", 2.0), ("e", 40.0))
    )
    transcript = asr.Transcript("a.wav", 41.0, "a b c d e", words)
    assert [(one.text, one.start_s, one.end_s) for one in transcript.segments] == [
        ("a b", 0.0, 0.9),
        ("c d", 1.6, 2.4),
        ("e", 40.0, 40.4),
    ]
    long = asr.Transcript(
        "a.wav", 60.0, "", tuple(asr.TimedWord("a", second, second + 1.0) for second in range(60))
    )
    assert [len(one.words) for one in long.segments] == [30, 30]
    assert asr.Transcript("a.wav", 1.0, "", ()).segments == ()
    assert " ".join(one.text for one in model.transcribe(path).segments)


def test_public_names_are_those_of_the_list() -> None:
    assert all(getattr(asr, name) is not None for name in asr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asr.nothing
