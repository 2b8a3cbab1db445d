"""What hotwords do to rare words and to the others, on real speech.

python scripts/hotword_recall.py data/an4 --model RUN --lm words.arpa.gz

The hotwords are the words of dev and test that are rarest in train. They are searched with a bonus
for each character (letters), or with one for each word that grows with the logarithm of how much
rarer it is than the most frequent word (rarity). Recall is of hotwords that were said; a false hit
is a hotword in the text where another word or none was said; errors elsewhere are insertions, and
errors in the other words, in 100 of these. The row with the fewest errors on dev is marked. With
--least P an utterance keeps its text without hotwords where one that they have added has a token of
a probability below P.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from asr.data.manifest import read_manifest
from asr.decode.beam import BeamDecoder
from asr.decode.greedy import TimedWord, timed_words
from asr.decode.language_model import read_language_model
from asr.lm.hotwords import Hotword, hotword_automaton
from asr.measure.tuning import encoded_split
from asr.metrics.wer import align_words
from asr.model.package import load_package
from asr.text.tokenizer import Tokenizer

WEIGHTS = {"letters": (0.1, 0.2, 0.3, 0.5, 0.7), "rarity": (0.2, 0.4, 0.6, 0.8, 1.0)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="folder of train, dev and test.jsonl.gz")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lm", type=Path)
    parser.add_argument("--lm-weight", type=float, default=0.3)
    parser.add_argument("--lm-word-bonus", type=float, default=1.0)
    parser.add_argument("--words", type=int, default=50)
    parser.add_argument("--least", type=float, default=0.0, metavar="P")
    args = parser.parse_args()
    package = load_package(args.model)
    splits = {
        split: encoded_split(package, read_manifest(args.corpus / f"{split}.jsonl.gz"))
        for split in ("dev", "test")
    }
    counts = Counter(
        word
        for one in read_manifest(args.corpus / "train.jsonl.gz")
        for word in package.normalizer(one.text).split()
    )
    said = {word for refs, _ in splits.values() for ref in refs for word in ref.split()}
    rare = sorted((word for word in said if len(word) > 1), key=lambda one: (counts[one], one))
    rare = rare[: args.words]
    print("hotwords and how often train has them:", *(f"{one} {counts[one]}," for one in rare))
    plain = BeamDecoder(beam=10)
    if args.lm:
        make = read_language_model(args.lm, package.tokenizer, package.normalizer)
        plain.scorers = (make(args.lm_weight, args.lm_word_bonus),)

    unhelped = {
        split: heard(outputs, plain, package.tokenizer) for split, (_, outputs) in splits.items()
    }

    def judged(split: str, boosts: Mapping[str, float], weight: float) -> Judged:
        search = copy(plain)
        phrases = [Hotword(word, boost) for word, boost in boosts.items()]
        automaton = hotword_automaton(
            phrases, package.tokenizer, normalize=package.normalizer, weight=weight
        )
        search.scorers = (*plain.scorers, automaton)
        refs, outputs = splits[split]
        texts = []
        helped = heard(outputs, search, package.tokenizer)
        for words, without in zip(helped, unhelped[split], strict=True):
            is_unsure = min(added_confidences(rare, words, without), default=1.0) < args.least
            texts.append(without if is_unsure else words)
        return judge(refs, texts, set(rare))

    most = max(counts.values())
    boosts = {
        "letters": dict.fromkeys(rare, 1.0),
        "rarity": {one: math.log(most / max(1, counts[one])) / len(one) for one in rare},
    }
    rows = [("none", 0.0), *((kind, one) for kind, each in WEIGHTS.items() for one in each)]
    found = {
        (kind, weight): {
            split: judged(split, boosts.get(kind, {rare[0]: 0.0}), weight) for split in splits
        }
        for kind, weight in rows
    }
    best = min(found, key=lambda row: (found[row]["dev"].wer, -found[row]["dev"].recall))
    columns = [
        f"{split} {name}"
        for split in splits
        for name in ("recall %", "false hits", "errors elsewhere %", "WER %")
    ]
    print(f"| bonus | weight | {' | '.join(columns)} | |")
    print(f"| :--- | ---: |{' ---: |' * len(columns)} :--- |")
    for row in rows:
        cells = [str(found[row][split]) for split in splits]
        mark = "best on dev" if row == best else ""
        print(f"| {row[0]} | {row[1]:g} | {' | '.join(cells)} | {mark} |")


@dataclass(frozen=True)
class Judged:
    """Rates in percent."""

    recall: float
    num_false: int
    elsewhere: float
    wer: float

    def __str__(self) -> str:
        return f"{self.recall:.1f} | {self.num_false} | {self.elsewhere:.2f} | {self.wer:.2f}"


def heard(
    outputs: Sequence[Tensor], search: BeamDecoder, tokenizer: Tokenizer
) -> list[list[TimedWord]]:
    """Return the words of every utterance, with confidences and without times."""
    found = []
    for log_probs_TV in outputs:
        (one,) = search(log_probs_TV.float()[None], torch.tensor([len(log_probs_TV)]))
        pieces, frames = tokenizer.pieces(one.token_ids), range(len(one.token_ids))
        found.append(timed_words(pieces, frames, frames, 1.0, len(frames), one.token_scores))
    return found


def added_confidences(
    hotwords: Sequence[str], words: Sequence[TimedWord], without: Sequence[TimedWord]
) -> list[float]:
    """Return the confidences of the hotwords that stand more often in the first text."""
    more = Counter(one.word for one in words) - Counter(one.word for one in without)
    return [one.confidence or 0.0 for one in words if one.word in hotwords and more[one.word]]


def judge(refs: Sequence[str], texts: Sequence[Sequence[TimedWord]], hotwords: set[str]) -> Judged:
    """Count what a search does to ``hotwords`` and to the other words."""
    tally: Counter[object] = Counter()
    for ref, words in zip(refs, texts, strict=True):
        text = " ".join(one.word for one in words)
        for step in align_words(ref, text)[1]:
            is_right = step["op"] == "equal"
            kind = "hotword" if step["ref"] in hotwords else "other" if step["ref"] else "none"
            tally[kind, is_right] += 1
            tally["false"] += step["hyp"] in hotwords and not is_right
    num_hotwords = tally["hotword", True] + tally["hotword", False]
    num_other = tally["other", True] + tally["other", False]
    elsewhere = tally["other", False] + tally["none", False]
    return Judged(
        recall=100 * tally["hotword", True] / num_hotwords,
        num_false=tally["false"],
        elsewhere=100 * elsewhere / num_other,
        wer=100 * (elsewhere + tally["hotword", False]) / (num_hotwords + num_other),
    )


if __name__ == "__main__":
    main()
