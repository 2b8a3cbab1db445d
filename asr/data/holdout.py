"""A train/dev/test split for corpora that come without one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from asr.data.manifest import Utterance

HELD_OUT_SHARE = 0.05  # of the audio, for dev and for test each


def hold_out(utterances: Sequence[Utterance]) -> tuple[dict[str, list[Utterance]], str]:
    """Utterances of ``train``, ``dev`` and ``test``, and a sentence that says how they were cut.

    No speaker is in two splits where all speakers are known and none is too large to hold out;
    otherwise single utterances are held out. The choice follows from names alone (a hash), not
    from chance or order.
    """
    if all(utterance.speaker for utterance in utterances):
        speakers = {utterance.utterance_id: str(utterance.speaker) for utterance in utterances}
        chosen = _choose(utterances, speakers)
        if chosen["dev"] and chosen["test"]:
            return chosen, "no split is given: cut 90/5/5 into train, dev and test by speaker"
    names = {utterance.utterance_id: utterance.utterance_id for utterance in utterances}
    chosen = _choose(utterances, names)
    filled = {split: rows for split, rows in chosen.items() if rows}
    return filled, (
        f"no split is given: cut by utterance into {', '.join(filled)}; "
        "speakers may be in more than one"
    )


def _choose(
    utterances: Sequence[Utterance], unit_of: Mapping[str, str]
) -> dict[str, list[Utterance]]:
    """Hold out whole units until each held-out split has its share, and never twice that."""
    units: dict[str, float] = defaultdict(float)
    for utterance in utterances:
        units[unit_of[utterance.utterance_id]] += utterance.duration_s
    share_s = HELD_OUT_SHARE * sum(units.values())
    split_of: dict[str, str] = {}
    for split in ("test", "dev"):
        held_s = 0.0
        for unit in sorted(units, key=_hash):
            fits = held_s + units[unit] <= 2 * share_s
            if unit not in split_of and held_s < share_s and fits:
                split_of[unit] = split
                held_s += units[unit]
    chosen: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for utterance in utterances:
        chosen[split_of.get(unit_of[utterance.utterance_id], "train")].append(utterance)
    return chosen


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
