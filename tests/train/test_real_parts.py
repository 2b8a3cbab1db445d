"""The model, the loader and the decoder of the toolkit, trained together."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr.audio.write import write_audio
from asr.data.batching import Batching
from asr.data.dataset import SpeechDataset
from asr.data.loader import ResumableLoader
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.decode.greedy import GreedyDecoder
from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from asr.text.normalize import TranscriptNormalizer
from asr.text.tokenizer import Tokenizer
from asr.train.averaging import AveragingSpec
from asr.train.fit import FitResult, FitSettings, fit
from asr.train.optim import AdamWSpec
from asr.train.price import Stepper
from asr.train.trainer import TrainerSpec
from asr.types import Batch, Waveform
from tests.train.standin import logged, make_batch

WORDS = ("one", "two", "three", "four")
CONFIG: dict[str, Any] = {
    "features": {
        "fbank": {"_target_": "asr.features.fbank.LogMel", "sample_rate_hz": 8000, "dither": 1e-4},
        "normalize": {"_target_": "asr.features.normalize.UtteranceNorm", "variance": True},
        "specaugment": {
            "_target_": "asr.features.specaugment.SpecAugment",
            "num_freq_masks": 1,
            "max_freq_width": 10,
            "num_time_masks": 1,
            "max_time_width": 10,
            "max_time_fraction": 0.1,
            "max_time_warp": 5,
            "ramp_steps": 14,
        },
    },
    "encoder": {
        "_target_": "asr.encoder.conformer.Conformer",
        "num_layers": 2,
        "d_model": 16,
        "num_heads": 2,
        "ffn_dim": 32,
        "conv_kernel_size": 5,
        "positions": "relative",
        "subsampling": "conv4",
        "subsampling_channels": 8,
        "dropout": 0.1,
    },
    "reuse": {"_target_": "asr.reuse.none.NoReuse"},
    "head": {"_target_": "asr.head.ctc.CtcHead"},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve utterances of half a second, one of them gone by the time it is read."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    utterances = []
    for i in range(12):
        path = folder / f"{i}.wav"
        samples = rng.normal(0, 0.1, 4000 + 100 * i).astype(np.float32)
        write_audio(path, Waveform(samples, 8000))
        utterances.append(
            CheckedUtterance(f"u{i}", path, 0.0, len(samples) / 8000, 8000, 1, WORDS[i % 4], None)
        )
    write_manifest(utterances, folder / "train.jsonl.gz")
    (folder / "3.wav").unlink()
    return folder / "train.jsonl.gz"


def run(
    manifest: Path,
    run_dir: Path,
    model: AsrModel,
    *,
    resume: bool = False,
    checks_memory: bool = False,
) -> FitResult:
    normalizer = TranscriptNormalizer(case="upper", punctuation="drop")
    tokenizer = Tokenizer.train([normalizer(word) for word in WORDS], kind="char", vocab_size=20)

    def make(training: bool) -> ResumableLoader:
        return ResumableLoader(
            read_manifest(manifest),
            dataset=SpeechDataset(tokenizer=tokenizer, normalizer=normalizer, sample_rate_hz=8000),
            batching=Batching(max_duration_s=1.5, num_buckets=2, seed=3),
            training=training,
        )

    train_loader = make(True)
    settings = FitSettings(
        tokenizer=tokenizer,
        train_loader=train_loader,
        largest_batch=next(train_loader.largest_batches()) if checks_memory else None,
        dev_loader=make(False),
        optim=AdamWSpec(peak_lr=2e-3, warmup_fraction=0.1, decay="cosine"),
        trainer=TrainerSpec(
            max_steps=16, accelerator="cpu", validate_every_epochs=1, log_every_steps=1
        ),
        averaging=AveragingSpec(kind="ema", decay=0.9),
        seed=4,
        decoder=GreedyDecoder(),
    )
    return fit(model, settings, run_dir=run_dir, resume=resume)


def make_model() -> AsrModel:
    torch.manual_seed(0)
    return build_model(CONFIG, vocab_size=20)


class StopsAt(AsrModel):
    """Asks for the end of the run at its tenth batch."""

    num_batches = 0

    def loss(self, batch: Batch) -> Any:
        self.num_batches += 1
        if self.num_batches == 10:
            signal.raise_signal(signal.SIGINT)
        return super().loss(batch)


def test_a_resumed_run_equals_one_that_never_stopped(manifest: Path, tmp_path: Path) -> None:
    whole = make_model()
    result = run(manifest, tmp_path / "whole", whole)
    assert (result.num_steps, result.num_skipped, result.weights) == (16, 0, "averaged")
    assert result.num_epochs >= 2
    parts = make_model()
    utterance = StopsAt(frontend=parts.frontend, encoder=parts.encoder, head=parts.head)
    assert run(manifest, tmp_path / "cut", utterance).interrupted
    resumed = make_model()
    # The largest batch, tried first, leaves no trace.
    rest = run(manifest, tmp_path / "cut", resumed, resume=True, checks_memory=True)
    assert (rest.num_steps, rest.num_unreadable, rest.num_resumed) == (16, 1, 1)
    for column in ("train_loss", "dev_loss", "dev_wer"):
        losses = logged(tmp_path / "whole", column)
        assert all(np.isfinite(list(losses.values())))
        assert losses == logged(tmp_path / "cut", column)
    for model in (whole, resumed):
        assert model.frontend.specaugment is not None
        assert model.frontend.specaugment.num_steps == 15
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_memory_check_and_the_price_are_those_of_the_lowest_speed(
    manifest: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    speed = {"_target_": "asr.features.augment.SpeedPerturb", "factors": [1.2, 0.5, 1.1, 1.3]}
    config = CONFIG | {"features": CONFIG["features"] | {"speed": speed}}
    model = build_model(config, vocab_size=20)
    lengths: list[list[int]] = []
    model.frontend.fbank.register_forward_pre_hook(
        lambda _, given: lengths.append(given[1].tolist())
    )
    run(manifest, tmp_path / "run", model, checks_memory=True)
    checked, *stepped = lengths[:17]
    assert min(checked) >= 8000, "twice the half second of every utterance"
    assert min(map(min, stepped)) < 4000

    batch = make_batch(0)
    stepper = Stepper(
        model.train(), model.loss, sample_rate_hz=8000, dtype="float32", device=torch.device("cpu")
    )
    lengths.clear()
    assert stepper.fits(batch)
    assert lengths == [(2 * batch.waveform_lengths_B).tolist()]
