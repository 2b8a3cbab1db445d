from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asr.audio.write import write_audio
from asr.data.dataset import SpeechDataset
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.decode import labelling
from asr.decode.greedy import GreedyDecoder
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.measure.evaluation import SplitEvaluation, evaluate
from asr.metrics.wer import WordErrors, align_chars, align_words
from asr.model.package import ModelPackage, load_package
from asr.types import Waveform
from tests.decode.package import save_tiny_package, write_noise
from tests.model.configs import SAMPLE_RATE_HZ

TEXTS = {0.4: "A CAT", 2.0: "THE DOG SAT ON THE MAT", 1.0: "", 0.05: "CAT", 1.3: "IT'S A DOG!"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(save_tiny_package(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Utterances of unlike lengths, out of order."""
    utterances = [
        CheckedUtterance(
            f"u{index}",
            write_noise(tmp_path / f"{index}.wav", duration_s),
            *(0.0, duration_s, SAMPLE_RATE_HZ, 1, text, None),
        )
        for index, (duration_s, text) in enumerate(TEXTS.items())
    ]
    write_manifest(utterances, tmp_path / "test.jsonl.gz")
    return tmp_path / "test.jsonl.gz"


def evaluated(package: ModelPackage, manifest: Path) -> SplitEvaluation:
    return evaluate(package, read_manifest(manifest), GreedyDecoder())


def test_utterances_come_back_in_the_order_of_the_manifest(
    package: ModelPackage, manifest: Path
) -> None:
    found = evaluated(package, manifest)
    assert [one.utterance_id for one in found.scored] == [f"u{index}" for index in range(5)]
    assert [one.ref for one in found.scored] == [
        *("a cat", "the dog sat on the mat", "", "cat", "it's a dog")
    ]
    assert [one.duration_s for one in found.scored] == list(TEXTS)


def test_silence_has_no_words_and_counts(package: ModelPackage, tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", Waveform(np.zeros(8000, np.float32), SAMPLE_RATE_HZ))
    speech = write_noise(tmp_path / "b.wav", 1.0)
    utterances = [
        CheckedUtterance(path.stem, path, 0.0, 1.0, SAMPLE_RATE_HZ, 1, "A CAT", None)
        for path in (tmp_path / "a.wav", speech)
    ]
    write_manifest(utterances, tmp_path / "test.jsonl.gz")
    silent, spoken = evaluated(package, tmp_path / "test.jsonl.gz").scored
    assert (silent.hyp, silent.errors.del_) == ("", 2)
    assert spoken.hyp == Transcriber(package, GreedyDecoder()).transcribe(speech).text


def test_the_rate_sums_errors_and_words(package: ModelPackage, manifest: Path) -> None:
    """Not a mean of rates (NVIDIA-NeMo/Speech#4919)."""
    found = evaluated(package, manifest)
    total = WordErrors.total([align_words(one.ref, one.hyp)[0] for one in found.scored])
    wer = found.wer
    assert (wer.sub, wer.del_, wer.ins, wer.words) == (total.sub, total.del_, total.ins, 12)
    assert wer.wer == 100 * (wer.sub + wer.del_ + wer.ins) / 12
    chars = WordErrors.total([align_chars(one.ref, one.hyp)[0] for one in found.scored])
    assert wer.cer == chars.wer
    assert found.counts.num_words == 12
    assert found.counts.num_utterances == 5
    assert found.counts.hours == pytest.approx(sum(TEXTS) / 3600)


@pytest.mark.parametrize("batch_s", [0.01, 2.5, 1000.0])
def test_the_batches_make_no_difference(
    package: ModelPackage, manifest: Path, monkeypatch: pytest.MonkeyPatch, batch_s: float
) -> None:
    """A rate that moves with the batch size cannot be trusted (speechbrain/speechbrain#924)."""
    expected = evaluated(package, manifest)
    monkeypatch.setattr(labelling, "BATCH_S", {"cpu": batch_s})
    assert evaluated(package, manifest) == expected


def test_a_file_reads_the_same_as_in_a_split(package: ModelPackage, manifest: Path) -> None:
    read = Transcriber(package, GreedyDecoder())
    for one in evaluated(package, manifest).scored:
        assert one.audio_path is not None
        assert read.transcribe(one.audio_path).text.split() == one.hyp.split()


def test_training_reads_a_batch_unchanged_evaluated(package: ModelPackage, manifest: Path) -> None:
    """Validation decodes whole batches of short utterances; the text is the same."""
    decoder, tokenizer = GreedyDecoder(), package.tokenizer
    expected = {one.utterance_id: one.hyp for one in evaluated(package, manifest).scored}
    dataset = SpeechDataset(
        tokenizer=tokenizer, normalizer=package.normalizer, sample_rate_hz=SAMPLE_RATE_HZ
    )
    batch = dataset[read_manifest(manifest)]
    assert batch is not None
    with torch.inference_mode():
        hypotheses = decoder(*package.model(batch.waveforms_BN, batch.waveform_lengths_B))
    texts = [tokenizer.decode(one.token_ids) for one in hypotheses]
    assert dict(zip(batch.utterance_ids, texts, strict=True)) == expected
    assert any(texts)


def test_long_audio_is_read_in_chunks(package: ModelPackage, tmp_path: Path) -> None:
    """Of a minute of audio no call of the model has more than half a minute."""
    path = write_noise(tmp_path / "long.wav", 65.0)
    utterance = CheckedUtterance("long", path, 0.0, 65.0, SAMPLE_RATE_HZ, 1, "A CAT", None)
    write_manifest([utterance], tmp_path / "test.jsonl.gz")
    widths: list[int] = []
    hook = package.model.frontend.register_forward_hook(
        lambda _module, given, _output: widths.append(given[0].shape[1])
    )
    (found,) = evaluated(package, tmp_path / "test.jsonl.gz").scored
    hook.remove()
    assert len(widths) >= 2
    assert max(widths) < 31 * SAMPLE_RATE_HZ
    assert found.hyp == Transcriber(package, GreedyDecoder()).transcribe(path).text


def test_audio_that_cannot_be_read_is_counted(package: ModelPackage, manifest: Path) -> None:
    expected = evaluated(package, manifest)
    (manifest.parent / "1.wav").unlink()
    found = evaluated(package, manifest)
    assert found.counts.num_skipped == 1
    assert found.counts.num_utterances == 5
    assert found.scored == (expected.scored[0], *expected.scored[2:])
    assert found.wer.words == 6


def test_nothing_to_read_is_an_error(package: ModelPackage, manifest: Path) -> None:
    for path in manifest.parent.glob("*.wav"):
        path.unlink()
    with pytest.raises(InputError, match="none of 5 utterances could be read"):
        evaluated(package, manifest)


def test_progress_is_reported(package: ModelPackage, manifest: Path) -> None:
    said: list[str] = []
    evaluate(package, read_manifest(manifest), GreedyDecoder(), report=said.append)
    assert said[-1] == "decoded 5 of 5 utterances"
