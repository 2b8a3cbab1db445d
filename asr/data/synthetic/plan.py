"""The plan of the synthetic corpus: text, voice and seed of every utterance."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr.data.synthetic.grammar import make_phrase, make_sentence

SEEN_ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-x-gbclan", "en-us-nyc")
UNSEEN_ACCENTS = ("en-gb-scotland", "en-029", "en-gb-x-gbcwmd")
SEEN_VARIANTS = (
    "Alex", "Alicia", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Lee",
    "Mike", "Nguyen", "Reed", "adam", "announcer", "aunty", "belinda", "benjamin", "boris",
    "david", "ed", "edward", "edward2", "f1", "f3", "f4", "f5", "grandpa", "gustave", "john",
    "kaukovalta", "klatt4", "klatt6", "m1", "m2", "m3", "m5", "m6", "m7", "m8", "marcelo", "max",
    "michel", "miguel", "pablo", "paul", "quincy", "robert", "shelby", "steph", "travis", "zac",
)  # fmt: skip
UNSEEN_VARIANTS = ("Mario", "Michael", "f2", "grandma", "klatt3", "linda", "m4", "rob")

# Accents and variants of each split.
SPLIT_VOICES = {
    "train": (SEEN_ACCENTS, SEEN_VARIANTS),
    "dev": (SEEN_ACCENTS, SEEN_VARIANTS),
    "test": (SEEN_ACCENTS, UNSEEN_VARIANTS),
    "test-accents": (UNSEEN_ACCENTS, UNSEEN_VARIANTS),
}
RATE_WORDS_PER_MINUTE = (155, 210)
PITCH_PERCENT = (32, 68)
PITCH_RANGE_PERCENT = (35, 70)


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker (``accent+variant``) and the manner of one utterance.

    ``rate`` is in words a minute; ``pitch`` and ``pitch_range`` are 0 to 99, 50 is the variant's
    default.
    """

    name: str
    rate: int
    pitch: int
    pitch_range: int


def draw_voice(split: str, rng: random.Random) -> Voice:
    """Draw a voice of ``split`` (a key of ``SPLIT_VOICES``)."""
    accents, variants = SPLIT_VOICES[split]
    return Voice(
        name=f"{rng.choice(accents)}+{rng.choice(variants)}",
        rate=rng.randint(*RATE_WORDS_PER_MINUTE),
        pitch=rng.randint(*PITCH_PERCENT),
        pitch_range=rng.randint(*PITCH_RANGE_PERCENT),
    )


PHRASE_SHARE = 0.25  # of the training utterances; held-out splits are full sentences
SHARD_SIZE = 150  # utterances that one worker process speaks


@dataclass(frozen=True, slots=True)
class PlannedUtterance:
    """One utterance to be spoken. ``seed`` sets the voice's jitter and the recording's noise."""

    utterance_id: str
    text: str
    voice: Voice
    seed: int


@dataclass(frozen=True, slots=True)
class Shard:
    """Utterances of one split that one fresh worker process speaks in order.

    The synthesiser carries state from one utterance to the next, so an utterance's sound depends on
    the shard, not on the number of jobs.
    """

    split: str
    name: str
    utterances: tuple[PlannedUtterance, ...]


def make_plan(
    counts: Mapping[str, int], seed: int, sentences: Sequence[str] | None = None
) -> list[Shard]:
    """Plan the shards of all splits of ``counts`` (split -> number of utterances).

    With ``sentences``, every split draws from them, evenly and in random order, and only the voices
    differ between splits. Otherwise the grammar makes them: held-out sentences are drawn first and
    are distinct; a training sentence equal to one of them is drawn again. Training phrases (one to
    five words) may repeat, but are never a held-out sentence.
    """
    held_out: set[str] = set()
    utterances: dict[str, tuple[PlannedUtterance, ...]] = {}
    for split in sorted(counts, key=lambda name: name == "train"):  # train last
        rng = random.Random(f"{seed}/{split}")
        dealt = None if sentences is None else _deal(sentences, counts[split], seed, split)
        utterances[split] = tuple(
            _draw_utterance(split, index, held_out, rng, None if dealt is None else dealt[index])
            for index in range(counts[split])
        )
    return [
        Shard(split, f"{start // SHARD_SIZE:03d}", utterances[split][start : start + SHARD_SIZE])
        for split in counts
        for start in range(0, counts[split], SHARD_SIZE)
    ]


def _draw_utterance(
    split: str, index: int, held_out: set[str], rng: random.Random, text: str | None
) -> PlannedUtterance:
    voice = draw_voice(split, rng)
    if text is None:
        text = _draw_text(split, held_out, rng)
    return PlannedUtterance(f"{split}-{index:05d}", text, voice, seed=rng.getrandbits(31))


def _draw_text(split: str, held_out: set[str], rng: random.Random) -> str:
    make_text = make_phrase if split == "train" and rng.random() < PHRASE_SHARE else make_sentence
    text = make_text(rng)
    while text in held_out:
        text = make_text(rng)
    if split != "train":
        held_out.add(text)
    return text


def _deal(sentences: Sequence[str], count: int, seed: int, split: str) -> list[str]:
    """Draw ``count`` sentences evenly, in random order."""
    dealt = [sentences[index % len(sentences)] for index in range(count)]
    random.Random(f"{seed}/{split}/order").shuffle(dealt)
    return dealt
