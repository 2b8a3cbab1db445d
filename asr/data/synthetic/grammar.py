"""Grammar of the synthetic corpus: sentences about errands, journeys, meals, messages.

It has about 280 words. Words that fit the same place sound different, and no two words of the
grammar sound the same, so the audio determines the transcript. Short phrases are included: early in
training they teach a model to align, long before it can spell a sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

# The words for each slot. An entry may name other slots.
SLOTS: Mapping[str, Sequence[str]] = {
    "who": (
        "my brother", "my sister", "my grandfather", "the teacher", "the doctor", "the farmer",
        "the captain", "our neighbor", "the artist", "the children", "the engineer", "{name}",
    ),
    "name": (
        "michael", "jennifer", "oliver", "sophia", "daniel", "victoria", "robert", "alice",
        "christopher", "emma",
    ),
    "did": (
        "carried", "painted", "found", "bought", "cleaned", "repaired", "remembered", "borrowed",
        "discovered", "delivered", "watched", "described",
    ),
    "went": ("waited", "walked", "disappeared", "danced", "laughed", "slept", "listened", "jumped"),
    "how": ("slowly", "together", "carefully", "alone"),
    "adjective": (
        "wooden", "yellow", "purple", "heavy", "broken", "silver", "beautiful", "little",
        "enormous", "expensive",
    ),
    "nature": ("little", "enormous", "beautiful", "famous", "friendly", "angry"),
    "object": (
        "table", "basket", "window", "guitar", "picture", "blanket", "hammer", "umbrella",
        "telephone", "computer", "bicycle", "letter", "camera", "jacket", "newspaper", "box",
    ),
    "animal": ("elephant", "monkey", "rabbit", "tiger", "chicken", "horse", "dolphin"),
    "place": (
        "garden", "river", "bridge", "station", "museum", "village", "mountain", "church",
        "harbor", "forest", "market", "school", "library",
    ),
    "where": (
        "near the {place}", "behind the {place}", "under the bridge", "across the {place}",
        "outside the {place}",
    ),
    "day": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday"),
    "month": ("january", "august", "october"),
    "past": (
        "yesterday", "on {day}", "last winter", "last summer", "this morning", "before breakfast",
        "after lunch", "at midnight", "in {month}", "every evening",
    ),
    "future": (
        "tomorrow", "on {day}", "next week", "this afternoon", "tonight", "in {month}",
        "before dinner", "after lunch", "on {day} morning",
    ),
    "number": ("three", "five", "six", "seven", "eleven", "twelve", "twenty", "forty"),
    "things": (
        "apples", "bottles", "tickets", "candles", "chairs", "flowers", "potatoes", "students",
        "soldiers", "birds",
    ),
    "color": ("green", "orange", "black", "white", "pink", "brown"),
    "city": (
        "london", "paris", "berlin", "chicago", "boston", "toronto", "sydney", "cairo", "madrid",
        "amsterdam",
    ),
    "vehicle": ("train", "bus", "airplane", "ferry", "taxi"),
    "minute": ("fifteen", "thirty", "o'clock"),
    "weather": ("sunny", "foggy", "warm", "freezing", "rainy", "dry"),
    "food": (
        "coffee", "bread", "cheese", "chocolate", "soup", "rice", "pizza", "mushrooms", "salad",
        "honey", "lemon", "tomato", "water",
    ),
    "dish": ("a cup of", "a plate of", "some", "more"),
    "room": ("kitchen", "bathroom", "hallway", "office", "garage"),
    "device": ("light", "heater", "television", "radio", "alarm"),
    "switch": ("turn on", "turn off", "do not touch"),
    "event": (
        "meeting", "concert", "holiday", "birthday", "interview", "project", "football game",
        "accident", "weather",
    ),
    "action": ("open", "close", "bring me", "wash", "check", "move", "throw away"),
    "quality": ("strong", "cheap", "dangerous", "important", "different", "perfect"),
    "believe": ("i think", "we know", "everybody said", "they believe", "nobody told me"),
}  # fmt: skip

# Templates with their weights.
SENTENCES: Sequence[tuple[int, str]] = (
    (5, "{who} {did} the {adjective} {object} {where}"),
    (6, "{who} {did} the {object} and the {object}"),
    (4, "{past} {who} {did} {number} {things}"),
    (5, "{who} {went} {how} {where}"),
    (5, "the {nature} {animal} {went} {how} {past}"),
    (6, "please {action} the {color} {object} {future}"),
    (6, "{switch} the {device} in the {room} {future}"),
    (5, "we will travel to {city} by {vehicle} {future}"),
    (5, "the {vehicle} from {city} to {city} leaves at {number} {minute}"),
    (5, "it will be {weather} and {weather} in {city}"),
    (5, "i would like {dish} {food} with {food}"),
    (4, "{name} ordered {number} {things} and {dish} {food}"),
    (4, "send a message to {name} about the {event}"),
    (4, "remind me to call {name} {future}"),
    (4, "where did {who} find the {adjective} {object}"),
    (4, "how many {color} {things} did you see {where}"),
    (4, "what time does the {place} open {future}"),
    (5, "{believe} the {event} was {quality}"),
    (4, "{believe} {who} {did} {number} {things}"),
    (4, "why is the {nature} {animal} so {quality}"),
)
PHRASES: Sequence[tuple[int, str]] = (
    (3, "{past}"),
    (3, "{future}"),
    (3, "{who}"),
    (3, "{who} {did}"),
    (3, "the {adjective} {object}"),
    (3, "the {nature} {animal}"),
    (3, "{where}"),
    (3, "{number} {things}"),
    (3, "{color} {things}"),
    (3, "{number} {minute}"),
    (3, "{food} and {food}"),
    (3, "{city} by {vehicle}"),
    (2, "{weather} in {city}"),
    (3, "{switch} the {device}"),
    (3, "the {room} {device}"),
    (2, "call {name}"),
    (2, "the {event}"),
    (3, "{action} the {object}"),
    (2, "so {quality}"),
    (2, "{went} {how}"),
    (2, "{believe}"),
)

_SLOT = re.compile(r"\{(\w+)\}")


def make_sentence(rng: random.Random) -> str:
    """Make a full sentence in lower case, five to twelve words."""
    return _expand(_choose(SENTENCES, rng), rng)


def make_phrase(rng: random.Random) -> str:
    """Make one to five words in lower case: a piece of a sentence."""
    return _expand(_choose(PHRASES, rng), rng)


def vocabulary() -> tuple[str, ...]:
    """Return every word of the grammar, sorted."""
    texts = [text for entries in SLOTS.values() for text in entries]
    texts += [template for _, template in (*SENTENCES, *PHRASES)]
    return tuple(sorted({word for text in texts for word in _SLOT.sub(" ", text).split()}))


def _choose(templates: Sequence[tuple[int, str]], rng: random.Random) -> str:
    weights, texts = zip(*templates, strict=True)
    return str(rng.choices(texts, weights)[0])


def _expand(text: str, rng: random.Random) -> str:
    """Fill the slots from left to right; no entry is used twice in a sentence."""
    said: set[str] = set()
    while match := _SLOT.search(text):
        choices = [entry for entry in SLOTS[match.group(1)] if entry not in said or "{" in entry]
        entry = rng.choice(choices)
        said.add(entry)
        text = text[: match.start()] + entry + text[match.end() :]
    return text
