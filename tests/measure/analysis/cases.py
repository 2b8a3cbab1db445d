"""A tiny model, noise to analyse, and every utterance's maps one at a time."""

from __future__ import annotations

from pathlib import Path

import torch

from asr.audio.read import read_audio
from asr.data.manifest import CheckedUtterance, write_manifest
from asr.encoder.maps import EncoderMaps, encode_with_maps
from asr.model.package import ModelPackage
from tests.decode.package import write_noise
from tests.model.configs import SAMPLE_RATE_HZ

TEXTS = ("a cat", "the dog sat", "it's a dog", "a mat", "the cat sat", "a dog ran", "dog")
DURATIONS_S = (1.1, 2.0, 1.5, 0.9, 1.7, 2.3, 0.8)


def write_data(folder: Path) -> Path:
    """A manifest of noise of unequal lengths."""
    utterances = [
        CheckedUtterance(
            f"u{index}",
            write_noise(folder / f"u{index}.wav", duration_s),
            *(0.0, duration_s, SAMPLE_RATE_HZ, 1, text.upper(), None),
        )
        for index, (text, duration_s) in enumerate(zip(TEXTS, DURATIONS_S, strict=True))
    ]
    write_manifest(utterances, folder / "test.jsonl.gz")
    return folder / "test.jsonl.gz"


def encode_alone(package: ModelPackage, path: Path) -> EncoderMaps:
    """One file in a batch of its own."""
    samples_N = torch.from_numpy(read_audio(path).samples)
    model = package.model
    with torch.no_grad():
        features = model.frontend(samples_N.unsqueeze(0), torch.tensor([len(samples_N)]))
    return encode_with_maps(model.encoder, *features)
