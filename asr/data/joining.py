"""Training on several utterances in a row, so that a model meets what comes after an utterance."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from asr.data.manifest import Utterance, Utterances
from asr.text.script import is_unspaced


def join_utterances(
    utterances: Utterances,
    *,
    share: float,
    max_s: float,
    pause_s: float,
    fits: Callable[[float], bool],
    generator: random.Random,
) -> list[Utterance]:
    """Join utterances in random order; every one occurs once, alone or as part of a joined one.

    A ``share`` of the results is joined. Each of them gets utterances until the next one would
    exceed a length drawn between 0 and ``max_s``, or until it would not fit by ``fits``. Pauses are
    drawn between 0 and ``pause_s``, one length for each result.
    """
    order = list(utterances)
    generator.shuffle(order)
    joined: list[Utterance] = []
    while order:
        parts = [order.pop()]
        if generator.random() < share:
            longest_s, gap_s = generator.uniform(0, max_s), generator.uniform(0, pause_s)
            length_s = parts[0].duration_s
            while order:
                length_s += gap_s + order[-1].duration_s
                if length_s > longest_s or not fits(length_s):
                    break
                parts.append(order.pop())
            if len(parts) > 1:
                joined.append(_joined(parts, gap_s))
                continue
        joined.append(parts[0])
    return joined


def _joined(parts: Sequence[Utterance], gap_s: float) -> Utterance:
    speakers = {part.speaker for part in parts}
    return Utterance(
        utterance_id="+".join(part.utterance_id for part in parts),
        start_s=0.0,
        duration_s=sum(part.duration_s for part in parts) + gap_s * (len(parts) - 1),
        text=join_texts([part.text for part in parts]),
        speaker=speakers.pop() if len(speakers) == 1 else None,
        source=parts[0].source,
        parts=tuple(parts),
    )


def join_texts(texts: Sequence[str]) -> str:
    """Join texts by spaces, or by nothing in scripts without spaces."""
    whole = ""
    for text in texts:
        is_close = whole and text and is_unspaced(whole[-1]) and is_unspaced(text[0])
        whole += text if is_close or not whole or not text else f" {text}"
    return whole


def join_samples(signals: Sequence[NDArray[np.float32]], num_between: int) -> NDArray[np.float32]:
    """Join samples (N,) with ``num_between`` zeros between each two."""
    silence = np.zeros(num_between, dtype=np.float32)
    pieces = [piece for samples in signals for piece in (silence, samples)]
    return np.concatenate(pieces[1:])
