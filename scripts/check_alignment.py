"""Word times in one long recording beside those of its utterances alone.

python scripts/join_utterances.py data/an4/test.jsonl.gz data/joined --pause 0.6
asr align data/joined/test.flac data/joined/test.txt --model RUN --format json --out a.json
python scripts/check_alignment.py a.json data/joined/test.tsv data/an4/test.jsonl.gz --model RUN
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import asr
from asr.data.manifest import read_manifest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("aligned", type=Path, help="of `asr align --format json`")
    parser.add_argument("starts", type=Path, help="what join_utterances.py wrote")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    joined = json.loads(args.aligned.read_text())["words"]
    offsets_s = [float(line.split("\t")[1]) for line in args.starts.read_text().splitlines()]
    gaps_s: list[float] = []
    num_unsaid = at = 0
    for utterance, offset_s in zip(read_manifest(args.manifest), offsets_s, strict=True):
        for word in aligned(utterance.audio_path, utterance.text, args.model):
            other = joined[at]
            at += 1
            assert other["word"] == word["word"], (other, word)
            if other["start_s"] is None or word["start_s"] is None:
                num_unsaid += 1
                continue
            gaps_s += [abs(other[key] - offset_s - word[key]) for key in ("start_s", "end_s")]
    gaps = np.array(gaps_s)
    print(f"{at} words, {num_unsaid} without a time in one of the two")
    middle_ms, far_ms = 1000 * np.quantile(gaps, [0.5, 0.99])
    print(
        f"starts and ends: {100 * (gaps <= 0.06).mean():.1f} % within 60 ms, "
        f"median {middle_ms:.0f} ms, 99 % within {far_ms:.0f} ms"
    )


def aligned(audio: Path, text: str, model: str) -> list[dict[str, float]]:
    """The words of one utterance."""
    with tempfile.TemporaryDirectory() as folder:
        written, out = Path(folder) / "text", Path(folder) / "out"
        written.write_text(text, encoding="utf-8")
        words = [*("align", str(audio), str(written), "--model", model), "--format", "json"]
        assert asr.main([*words, "--out", str(out)]) == 0
        found: list[dict[str, float]] = json.loads(out.read_text())["words"]
    return found


if __name__ == "__main__":
    main()
