"""How long after a word its text is there, in live streams of a split.

python scripts/emission_delay.py data/an4/test.jsonl.gz --model RUN --stream 160 320 640 1280

A word is there with the first result from which on the text keeps it. The delay counts audio from
its end, by forced alignment of the whole utterance with the same model; computing takes no time.
Utterances that are read with an error are left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import asr
from asr.data.dataset import stream_utterance
from asr.data.manifest import read_manifest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--stream", type=float, nargs="+", default=[160, 320, 640, 1280])
    args = parser.parse_args()
    model = asr.load(args.model)
    rate_hz = model.package.model.frontend.sample_rate_hz
    utterances = []
    for one in read_manifest(args.manifest):
        samples = np.concatenate([part.samples for part in stream_utterance(one, rate_hz)])
        text = model.package.normalizer(one.text)
        utterances.append((samples, text, ends_s(one.audio_path, text, args.model)))
    print("| chunk ms | longest wait ms | words | median ms | 90 % | 99 % |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for chunk_ms in args.stream:
        delays_s: list[float] = []
        for samples, text, ends in utterances:
            heard = listen(model.stream(chunk_ms), samples, rate_hz)
            if " ".join(heard[-1][1].split()) == text and None not in ends:
                delays_s += delays(heard, text.split(), ends)
        quantiles = 1000 * np.quantile(delays_s, [0.5, 0.9, 0.99])
        shown = " | ".join(f"{one:.0f}" for one in quantiles)
        latency_ms = 1000 * model.stream(chunk_ms).latency_s
        print(f"| {chunk_ms:g} | {latency_ms:.0f} | {len(delays_s)} | {shown} |", flush=True)


def listen(
    stream: asr.LiveStream, samples: np.ndarray, rate_hz: int, block_s: float = 0.01
) -> list[tuple[float, str]]:
    """Seconds of audio heard, and the text at that time, whenever it changes."""
    done, now = "", ""
    heard = [(0.0, "")]
    size = round(block_s * rate_hz)
    for first in range(0, len(samples) + size, size):
        block = samples[first : first + size]
        results = stream.send(block, rate_hz) if len(block) else stream.finish()
        for result in results:
            if result.is_final:
                done, now = f"{done} {result.text}", ""
            else:
                now = result.text
            heard.append((min(first + size, len(samples)) / rate_hz, f"{done} {now}"))
        if not len(block):
            break
    return heard


def delays(
    heard: Sequence[tuple[float, str]], words: Sequence[str], ends: Sequence[float]
) -> list[float]:
    """Seconds from the end of each word to when it is there to stay."""
    found = []
    for index, (word, end) in enumerate(zip(words, ends, strict=True)):
        since_s = heard[-1][0]
        for at_s, text in reversed(heard):
            if text.split()[index : index + 1] != [word]:
                break
            since_s = at_s
        found.append(since_s - end)
    return found


def ends_s(audio: Path, text: str, model: str) -> list[float]:
    """The ends of the words by `asr align`."""
    with tempfile.TemporaryDirectory() as folder:
        written, out = Path(folder) / "text", Path(folder) / "out"
        written.write_text(text, encoding="utf-8")
        words = [*("align", str(audio), str(written), "--model", model), "--format", "json"]
        assert asr.main([*words, "--out", str(out)]) == 0
        return [word["end_s"] for word in json.loads(out.read_text())["words"]]


if __name__ == "__main__":
    main()
