"""The utterances of a manifest as one long recording, with pauses and their text.

    python scripts/join_utterances.py data/an4/test.jsonl.gz data/joined --pause 0.6
    asr evaluate --model RUN --data data/joined/test.jsonl.gz --lengths
    asr align data/joined/test.flac data/joined/test.txt --model RUN --format json

Pauses are zeros of ``--pause`` seconds, or noise of a level (``--noise -60`` dB of full scale); 0
leaves no pause. The order is that of the manifest. ``test.tsv`` has the start of every utterance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.audio.write import write_audio
from asr.data.manifest import CheckedUtterance, read_manifest, write_manifest
from asr.types import Waveform


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path, help="folder for the recording, text and manifest")
    parser.add_argument("--pause", type=float, default=0.6, metavar="S")
    parser.add_argument("--noise", type=float, metavar="DB", help="white noise instead of zeros")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.manifest.name.partition(".")[0]
    rng = np.random.default_rng(0)
    parts, texts, starts = [], [], []
    num_samples = rate_hz = 0
    for utterance in read_manifest(args.manifest):
        speech = read_audio(
            utterance.audio_path, start_s=utterance.start_s, duration_s=utterance.duration_s
        )
        rate_hz = rate_hz or speech.sample_rate_hz
        samples = resample(speech, rate_hz).samples
        pause = np.zeros(round(args.pause * rate_hz), dtype=np.float32)
        if args.noise is not None:
            pause += 10 ** (args.noise / 20) * rng.normal(size=len(pause)).astype(np.float32)
        starts.append(f"{utterance.utterance_id}\t{num_samples / rate_hz:.3f}\t{utterance.text}\n")
        texts.append(utterance.text)
        parts += [samples, pause]
        num_samples += len(samples) + len(pause)
    path = (args.out / f"{name}.flac").absolute()
    write_audio(path, Waveform(np.concatenate(parts), rate_hz))
    (args.out / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (args.out / f"{name}.tsv").write_text("".join(starts), encoding="utf-8")
    duration_s = num_samples / rate_hz
    joined = CheckedUtterance(name, path, 0.0, duration_s, rate_hz, 1, " ".join(texts), None)
    write_manifest([joined], args.out / f"{name}.jsonl.gz")
    print(f"{len(texts)} utterances, {duration_s:.0f} s: {path}")


if __name__ == "__main__":
    main()
