"""A test split with silence around every utterance: how a model copes with loose segments.

    python scripts/pad_silence.py data/synthetic/test.jsonl.gz data/padded --lead 1 --tail 1
    asr evaluate --model RUN/model --data data/padded/test.jsonl.gz --lengths

Silence is zeros, or white noise of a level (``--noise -70`` dB of full scale). ``--random`` draws
each lead and tail from zero up to what is given. ``--middle`` cuts every utterance in two at its
quietest moment and puts silence there. The same arguments give the same files.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.audio.read import read_audio
from asr.audio.write import write_audio
from asr.data.manifest import CheckedUtterance, Utterance, read_manifest, write_manifest
from asr.types import Waveform

FRAME_S = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path, help="folder for audio and a manifest of the same name")
    parser.add_argument("--lead", type=float, default=0.0, metavar="S")
    parser.add_argument("--middle", type=float, default=0.0, metavar="S")
    parser.add_argument("--tail", type=float, default=0.0, metavar="S")
    parser.add_argument("--noise", type=float, metavar="DB", help="white noise instead of zeros")
    parser.add_argument("--random", action="store_true", help="leads and tails of random length")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    utterances = [padded(utterance, args, rng) for utterance in read_manifest(args.manifest)]
    write_manifest(utterances, args.out / args.manifest.name)
    print(f"{len(utterances)} utterances: {args.out / args.manifest.name}")


def padded(
    utterance: Utterance, args: argparse.Namespace, rng: np.random.Generator
) -> CheckedUtterance:
    """The utterance with its silence, written to its file."""
    speech = read_audio(
        utterance.audio_path, start_s=utterance.start_s, duration_s=utterance.duration_s
    )
    rate_hz = speech.sample_rate_hz

    def silence(longest_s: float) -> NDArray[np.float32]:
        length_s = rng.uniform(0, longest_s) if args.random else longest_s
        num_samples = round(length_s * rate_hz)
        if args.noise is None:
            return np.zeros(num_samples, dtype=np.float32)
        level = np.float32(10 ** (args.noise / 20))
        return level * rng.standard_normal(num_samples, dtype=np.float32)

    at = quietest(speech)
    pieces = [silence(args.lead), speech.samples[:at]]
    pieces += [silence(args.middle), speech.samples[at:], silence(args.tail)]
    waveform = dataclasses.replace(speech, samples=np.concatenate(pieces))
    path = args.out / "audio" / f"{utterance.utterance_id}.flac"
    write_audio(path, waveform)
    return CheckedUtterance(
        utterance_id=utterance.utterance_id,
        audio_path=path,
        start_s=0.0,
        duration_s=waveform.duration_s,
        sample_rate_hz=rate_hz,
        num_channels=1,
        text=utterance.text,
        speaker=utterance.speaker,
    )


def quietest(speech: Waveform) -> int:
    """The sample in the middle half of the audio around which it is quietest."""
    size = max(1, round(FRAME_S * speech.sample_rate_hz))
    num_frames = len(speech.samples) // size
    energy = (speech.samples[: num_frames * size].reshape(-1, size) ** 2).mean(axis=1)
    first, last = num_frames // 4, num_frames - num_frames // 4
    if first >= last:
        return len(speech.samples) // 2
    return int((first + int(energy[first:last].argmin()) + 0.5) * size)


if __name__ == "__main__":
    main()
