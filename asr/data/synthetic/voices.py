"""Who speaks: an accent of English and a variant of the voice, together one speaker.

Heard voices are those of ``train`` and ``dev``. ``test`` has the same accents in variants that no
training utterance has; ``test-accents`` has those variants in accents never heard. Whispers,
robots and broken voices are left out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

HEARD_ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-x-gbclan", "en-us-nyc")
UNHEARD_ACCENTS = ("en-gb-scotland", "en-029", "en-gb-x-gbcwmd")
HEARD_VARIANTS = (
    "Alex", "Alicia", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Lee",
    "Mike", "Nguyen", "Reed", "adam", "announcer", "aunty", "belinda", "benjamin", "boris",
    "david", "ed", "edward", "edward2", "f1", "f3", "f4", "f5", "grandpa", "gustave", "john",
    "kaukovalta", "klatt4", "klatt6", "m1", "m2", "m3", "m5", "m6", "m7", "m8", "marcelo", "max",
    "michel", "miguel", "pablo", "paul", "quincy", "robert", "shelby", "steph", "travis", "zac",
)  # fmt: skip
UNHEARD_VARIANTS = ("Mario", "Michael", "f2", "grandma", "klatt3", "linda", "m4", "rob")

# What split has which accents and variants.
SPLIT_VOICES = {
    "train": (HEARD_ACCENTS, HEARD_VARIANTS),
    "dev": (HEARD_ACCENTS, HEARD_VARIANTS),
    "test": (HEARD_ACCENTS, UNHEARD_VARIANTS),
    "test-accents": (UNHEARD_ACCENTS, UNHEARD_VARIANTS),
}
RATE_WORDS_PER_MINUTE = (155, 210)
PITCH_PERCENT = (32, 68)
PITCH_RANGE_PERCENT = (35, 70)


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker (``accent+variant``) and the manner of one utterance.

    ``rate`` in words a minute; ``pitch`` and ``pitch_range`` from 0 to 99, 50 being the
    variant's own.
    """

    name: str
    rate: int
    pitch: int
    pitch_range: int


def draw_voice(split: str, rng: random.Random) -> Voice:
    """A voice of ``split`` (a key of ``SPLIT_VOICES``)."""
    accents, variants = SPLIT_VOICES[split]
    return Voice(
        name=f"{rng.choice(accents)}+{rng.choice(variants)}",
        rate=rng.randint(*RATE_WORDS_PER_MINUTE),
        pitch=rng.randint(*PITCH_PERCENT),
        pitch_range=rng.randint(*PITCH_RANGE_PERCENT),
    )
