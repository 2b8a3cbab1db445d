"""Live results of a tiny random model, and files heard as streams."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import asr
from asr.decode.endpoint import Endpoint
from asr.decode.greedy import GreedyDecoder
from asr.decode.search import build_search
from asr.decode.streaming import Streamer, StreamResult
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.model.package import ModelPackage, load_package
from asr.nn.chunks import ChunkContext
from tests.model.configs import SAMPLE_RATE_HZ

from .package import noise, save_tiny_package, write_noise
from .streams import save_streaming_package, streaming_config

CONTEXT = ChunkContext(5, 8, 1)
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_streaming_package(tmp_path_factory.mktemp("tiny") / "model"))


def heard(
    transcriber: Transcriber,
    samples: np.ndarray,
    rate_hz: int = SAMPLE_RATE_HZ,
    *,
    size: int = 1000,
    endpoint: Endpoint | None = None,
) -> list[StreamResult]:
    stream = transcriber.stream(200, endpoint=endpoint)
    results = []
    for first in range(0, len(samples), size):
        results += stream.send(samples[first : first + size], rate_hz)
    return results + stream.finish()


@pytest.mark.parametrize("size", [80, 1000, 100_000])
def test_final_texts_are_those_of_the_file_heard_as_a_stream(
    package: ModelPackage, size: int
) -> None:
    samples = noise(9.0).samples
    live = heard(Transcriber(package, GreedyDecoder()), samples, size=size)
    final = [result for result in live if result.is_final]
    transcript = Transcriber(package, GreedyDecoder(), stream=CONTEXT).transcribe(
        samples, SAMPLE_RATE_HZ
    )
    assert transcript.text == " ".join(result.text for result in final)
    assert transcript.text
    words = [word.word for result in final for word in result.words]
    assert [word.word for word in transcript.words] == words
    starts = [word.start_s for result in final for word in result.words]
    assert starts == sorted(starts)
    assert starts == [word.start_s for word in transcript.words]


@pytest.mark.parametrize(
    ("head", "search"),
    [
        ("transducer", "transducer"),
        ("hybrid", "rescore"),
        ("hybrid", "hybrid"),
        ("ctc", "beam"),
    ],
)
def test_every_head_and_search_streams(tmp_path: Path, head: str, search: str) -> None:
    config = streaming_config()
    config["head"] = yaml.safe_load((CONFIGS / "head" / f"{head}.yaml").read_text())
    config["decode"] = yaml.safe_load((CONFIGS / "decode" / f"{search}.yaml").read_text())
    package = load_package(save_tiny_package(tmp_path / "model", config))
    decoder = build_search(config["decode"], package.model, package)
    samples = noise(4.0).samples
    live = heard(Transcriber(package, decoder), samples)
    transcript = Transcriber(package, decoder, stream=CONTEXT).transcribe(samples, SAMPLE_RATE_HZ)
    assert transcript.text == " ".join(result.text for result in live if result.is_final)
    assert transcript.text


@pytest.mark.parametrize("head", ["ctc", "transducer"])
def test_a_hotword_is_in_the_text_so_far(tmp_path: Path, head: str) -> None:
    config = streaming_config()
    config["head"] = yaml.safe_load((CONFIGS / "head" / f"{head}.yaml").read_text())
    folder = save_tiny_package(tmp_path / "model", config)
    samples = noise(3.0).samples
    texts: list[list[str]] = []
    for hotwords in ((), ("cat",)):
        model = asr.load(folder, beam=100, hotwords=hotwords, hotword_weight=20.0)
        results = model.stream(200).send(samples, SAMPLE_RATE_HZ)
        assert not any(result.is_final for result in results)
        texts.append([result.text for result in results])
    without, with_hotword = texts
    assert not any("cat" in text.split() for text in without)
    assert any("cat" in text.split() for text in with_hotword)


def test_words_that_were_told_stay(package: ModelPackage) -> None:
    """Of a greedy search each text goes on from the one before, until one is final."""
    told = ""
    num_partial = 0
    for result in heard(Transcriber(package, GreedyDecoder()), noise(9.0).samples):
        assert result.text.startswith(told)
        num_partial += not result.is_final
        told = "" if result.is_final else result.text
    assert num_partial > 3


def test_audio_that_ends_with_a_block_has_its_last_text(tmp_path: Path) -> None:
    """Nothing is left to encode when the stream ends."""
    package = load_package(save_streaming_package(tmp_path / "model", right_frames=0))
    num_features = 4 * 5 * 6  # of six chunks
    samples = noise(9.0).samples[: (num_features - 1) * 80 + 200]
    transcriber = Transcriber(package, GreedyDecoder())
    stream = transcriber.stream(200)
    before = stream.send(samples, SAMPLE_RATE_HZ)
    after = stream.finish()
    assert before[-1].text
    assert not before[-1].is_final
    assert [(one.text, one.is_final) for one in after] == [(before[-1].text, True)]
    assert stream.finish() == []


def test_results_of_audio_at_another_rate_and_of_whole_numbers(package: ModelPackage) -> None:
    samples = noise(4.0, 16_000).samples
    transcriber = Transcriber(package, GreedyDecoder())
    floats = heard(transcriber, samples, 16_000)
    whole = heard(
        transcriber, np.round(samples * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16), 16_000
    )
    stereo = heard(transcriber, np.stack([samples, samples], 1), 16_000)
    assert floats[-1].text == stereo[-1].text
    assert floats[-1].is_final
    assert len(whole) > 1


@pytest.mark.parametrize("search", ["greedy", "beam", "transducer", "transducer_beam"])
def test_a_saved_stream_goes_on_with_the_same_results(tmp_path: Path, search: str) -> None:
    config = streaming_config()
    config["decode"] = yaml.safe_load((CONFIGS / "decode" / f"{search}.yaml").read_text())
    if search.startswith("transducer"):
        config["head"] = yaml.safe_load((CONFIGS / "head" / "transducer.yaml").read_text())
    package = load_package(save_tiny_package(tmp_path / "model", config))
    decoder = build_search(config["decode"], package.model, package)
    streamer = Streamer(package, decoder, CONTEXT)
    samples_N = torch.from_numpy(noise(8.0).samples)
    first = streamer.open()
    first.push(samples_N[:40_000])
    assert list(streamer.results(first))
    file = io.BytesIO()
    torch.save(first.saved(), file)
    file.seek(0)
    second = streamer.restored(torch.load(file, weights_only=True))
    results = []
    for stream in (first, second):
        stream.push(samples_N[40_000:])
        stream.end()
        results.append(list(streamer.results(stream)))
    assert results[0] == results[1]
    assert results[0][-1].text
    other = Streamer(package, decoder, ChunkContext(4, 8, 1))
    with pytest.raises(InputError, match="stream has other chunks"):
        other.restored(first.saved())


def test_files_go_side_by_side(package: ModelPackage, tmp_path: Path) -> None:
    """More of them than at once, in order, a broken one among them."""
    paths = [write_noise(tmp_path / f"{index}.wav", 0.3 + 0.1 * (index % 7)) for index in range(40)]
    (tmp_path / "5.wav").write_bytes(b"RIFF nothing")
    transcriber = Transcriber(package, GreedyDecoder(), stream=CONTEXT)
    found = list(transcriber.each(paths))
    assert isinstance(found[5], InputError)
    for index, transcripts in enumerate(found):
        if index != 5:
            assert not isinstance(transcripts, InputError)
            assert transcripts[0].audio_path == str(paths[index])
            assert transcripts[0].text == transcriber.transcribe(paths[index]).text


def test_a_stream_refuses_what_is_no_audio(package: ModelPackage) -> None:
    stream = Transcriber(package, GreedyDecoder()).stream(200)
    assert stream.latency_s == pytest.approx(0.255)
    assert stream.send(np.zeros(0), SAMPLE_RATE_HZ) == []
    stream.send(np.zeros(100), SAMPLE_RATE_HZ)
    with pytest.raises(InputError, match="began with 8000 Hz, not 16000 Hz"):
        stream.send(np.zeros(100), 16_000)
    with pytest.raises(InputError, match="stream: samples of type <U1"):
        stream.send(np.array(["a"]), SAMPLE_RATE_HZ)
    assert all(result.text for result in stream.finish())
    with pytest.raises(InputError, match="this stream is finished"):
        stream.send(np.zeros(100), SAMPLE_RATE_HZ)


def test_the_names_are_public() -> None:
    assert asr.StreamResult is StreamResult
    assert asr.Endpoint is Endpoint
    assert asr.LiveStream.__name__ in asr.__all__
