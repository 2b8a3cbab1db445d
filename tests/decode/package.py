"""A model folder with a tiny random model, and audio to read with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.audio.write import write_audio
from asr.decode.assembly import LabelledAudio
from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.decode.labelling import FrameLabeller
from asr.decode.recogniser import Recogniser
from asr.decode.transcribe import Transcriber
from asr.model.package import save_package
from asr.text.tokenizer import Tokenizer
from asr.types import Waveform
from tests.model.configs import CONFIG, SAMPLE_RATE_HZ, tiny_model

TEXTS = ("the cat sat on the mat", "a dog ran", "it's a cat")


def save_tiny_package(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """A package in ``folder`` that writes lower-case letters of ``TEXTS``, at 8 kHz."""
    config = CONFIG if config is None else config
    tokenizer = Tokenizer.train(TEXTS, kind="char", vocab_size=30)
    model = tiny_model(config, vocab_size=tokenizer.vocab_size)
    save_package(folder, model=model, tokenizer=tokenizer, config=config, card="# Random\n")
    return folder


def talkative(package: Recogniser) -> Recogniser:
    """The same package with a head that writes many short words, whatever it hears."""
    model: Any = package.model
    project = model.head.project
    heard: list[Tensor] = []
    hook = project.register_forward_hook(lambda module, inputs, output: heard.append(inputs[0]))
    Transcriber(package, GreedyDecoder()).transcribe(noise(10.0))
    hook.remove()
    frames_TD = heard[0].flatten(0, -2)
    weights = torch.randn(project.weight.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        project.weight.copy_(weights / frames_TD.std(0))
        project.bias.copy_(-(project.weight @ frames_TD.mean(0)))
        project.bias[package.tokenizer.encode("a a")[-2]] += 6.0
        project.bias[package.tokenizer.encode("%")[-1]] -= 1000.0  # of unknown letters
    return package


def read_frames(
    package: Recogniser, waveform: Waveform, *, chunk_s: float, overlap_s: float = 0.0
) -> FrameLabels:
    """What the model makes of all frames of one waveform, in blocks of three seconds."""
    labeller = FrameLabeller(
        package.model, GreedyDecoder(), chunk_s=chunk_s, overlap_s=overlap_s, silence_db=None
    )
    rate_hz = waveform.sample_rate_hz
    blocks = [
        Waveform(waveform.samples[first : first + 3 * rate_hz], rate_hz)
        for first in range(0, len(waveform.samples), 3 * rate_hz)
    ]
    (found,) = labeller([lambda: iter(blocks)])
    assert isinstance(found, LabelledAudio)
    assert found.duration_s == waveform.duration_s
    assert isinstance(found.labels, FrameLabels)
    return found.labels


def noise(duration_s: float, sample_rate_hz: int = SAMPLE_RATE_HZ, *, seed: int = 0) -> Waveform:
    """Noise that rises and falls three times a second."""
    num_samples = round(duration_s * sample_rate_hz)
    loudness = 0.1 + 0.1 * np.sin(2 * np.pi * 3 * np.arange(num_samples) / sample_rate_hz)
    samples = loudness * np.random.default_rng(seed).normal(size=num_samples)
    return Waveform(samples.clip(-1, 1).astype(np.float32), sample_rate_hz)


def write_noise(path: Path, duration_s: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Path:
    """A file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, noise(duration_s, sample_rate_hz, seed=sum(path.stem.encode())))
    return path
