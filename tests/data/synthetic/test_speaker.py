from __future__ import annotations

import importlib.util

import pytest

from asr.data.synthetic.plan import PlannedUtterance, Voice
from asr.data.synthetic.speaker import Speaker

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="needs the synthetic extra"
)


def utterance(voice: str, text: str = "hello there", seed: int = 1) -> PlannedUtterance:
    return PlannedUtterance("u1", text, Voice(voice, 170, 50, 50), seed)


def test_a_fresh_worker_says_the_same() -> None:
    said = []
    for _ in range(2):
        with Speaker() as speaker:
            said.append(speaker.speak(utterance("en-us+f2")).samples)
    assert len(said[0]) > 5000
    assert (said[0] == said[1]).all()


def test_a_worker_that_fails_says_why() -> None:
    with Speaker() as speaker, pytest.raises(RuntimeError, match=r"u1: ValueError: .*en-us-nobody"):
        speaker.speak(utterance("xx-nowhere+en-us-nobody"))
