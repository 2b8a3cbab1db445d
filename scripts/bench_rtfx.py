"""RTFx of a model from samples to text, beside the same weights in transformers, on one device.

    asr export --model DIR --format huggingface --out DIR-hf
    python scripts/bench_rtfx.py --model DIR --transformers DIR-hf --speech FOLDER --device cuda

RTFx is seconds of audio over seconds of computing, as the Open ASR Leaderboard has it: audio is
read before, batches have ``--batch`` utterances of about the same length, longest first, and
features, encoder and search count. Programs take turns; medians over ``--repeats`` are shown, with
the number of words and the share of texts equal to the first program's. An untrained model may
write no words: then its search does too little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import torch

import asr
from asr.audio.read import read_audio
from asr.audio.resample import resample
from asr.cli.options import count
from asr.profiling.hardware import describe_hardware, source_revision

SAMPLE_RATE_HZ = 16_000
ENDINGS = {".flac", ".opus", ".wav"}
Program = Callable[[Sequence[np.ndarray]], list[str]]


def encore(folder: Path, device: str, dtype: str) -> Program:
    """Greedy search of `asr.load`, all of a batch at once."""
    transcriber = asr.load(folder, device=device, dtype=dtype, batch_s=1e6, chunk_s=1e6)
    return lambda batch: [
        transcript.text
        for transcript in transcriber.transcribe([(samples, SAMPLE_RATE_HZ) for samples in batch])
    ]


def transformers(folder: Path, device: str, dtype: str) -> Program:
    """Features, encoder and greedy search of transformers' ParakeetForCTC, as its card shows."""
    from transformers import AutoModelForCTC, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForCTC.from_pretrained(folder, dtype=dtype).to(device).eval()

    def texts(batch: Sequence[np.ndarray]) -> list[str]:
        inputs = processor(list(batch), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        inputs = inputs.to(device, dtype=model.dtype)
        return list(processor.batch_decode(model.generate(**inputs), skip_special_tokens=True))

    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--transformers", type=Path, metavar="DIR", help="its Hugging Face folder")
    parser.add_argument("--speech", type=Path, required=True, help="folder of audio files")
    parser.add_argument("--utterances", type=count, default=512, help="files, used again if fewer")
    parser.add_argument("--batch", type=count, default=128)
    parser.add_argument("--repeats", type=count, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    args = parser.parse_args()

    files = sorted(path for path in args.speech.rglob("*") if path.suffix in ENDINGS)
    if not files:
        parser.error(f"--speech {args.speech}: no {', '.join(sorted(ENDINGS))} files")
    audio = [
        resample(read_audio(path), SAMPLE_RATE_HZ).samples for path in files[: args.utterances]
    ]
    utterances = sorted(islice(cycle(audio), args.utterances), key=len, reverse=True)
    batches = [utterances[n : n + args.batch] for n in range(0, len(utterances), args.batch)]
    audio_s = sum(map(len, utterances)) / SAMPLE_RATE_HZ
    programs: dict[tuple[str, str], Program] = {}
    for dtype in args.dtypes:
        programs["encore", dtype] = encore(args.model, args.device, dtype)
        if args.transformers:
            programs["transformers", dtype] = transformers(args.transformers, args.device, dtype)

    def run(program: Program) -> tuple[float, list[str]]:
        begun = time.perf_counter()
        texts = [text for batch in batches for text in program(batch)]
        return time.perf_counter() - begun, texts

    spent_s: dict[tuple[str, str], list[float]] = {name: [] for name in programs}
    texts: dict[tuple[str, str], list[str]] = {}
    with torch.inference_mode():
        for program in programs.values():
            run(program)  # libraries choose kernels, memory is allocated
        for _ in range(args.repeats):
            for name, program in programs.items():
                seconds, texts[name] = run(program)
                spent_s[name].append(seconds)

    first = texts["encore", args.dtypes[0]]
    for (library, dtype), times in spent_s.items():
        same = np.mean(
            [one == other for one, other in zip(texts[library, dtype], first, strict=True)]
        )
        row = {
            "program": library,
            "dtype": dtype,
            "batch": args.batch,
            "audio_s": round(audio_s, 1),
            "rtfx": round(audio_s / median(times), 1),
            "slowest": round(audio_s / max(times), 1),
            "words": sum(len(text.split()) for text in texts[library, dtype]),
            "same_texts": round(float(same), 3),
        }
        print(json.dumps(row))
    print(f"# {describe_hardware(args.device)}, commit {source_revision()}")


if __name__ == "__main__":
    main()
