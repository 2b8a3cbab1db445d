"""Which search reads which head, and what a head refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import asr
from asr.decode.greedy import GreedyDecoder
from asr.decode.search import build_search
from asr.errors import InputError
from asr.head.ctc import CtcHead
from asr.lm.kneser_ney import estimate
from tests.decode.package import save_tiny_package, write_noise
from tests.model.configs import CONFIG, tiny_model


class OtherHead(CtcHead):
    """A head that gives something else than log probabilities."""

    name = "other"

    @property
    def refused(self) -> Mapping[str, str]:
        return {"asr export": "it is another"}


def test_the_search_of_a_config_is_built() -> None:
    assert isinstance(build_search(CONFIG["decode"], tiny_model()), GreedyDecoder)


def test_a_search_of_another_head_is_refused_in_one_line() -> None:
    model = tiny_model()
    model.head = OtherHead(d_model=16, vocab_size=7)

    with pytest.raises(InputError, match=r"is a search for a ctc head; .* is other") as raised:
        build_search(CONFIG["decode"], model)

    assert len(str(raised.value).splitlines()) == 1


def test_a_head_says_what_it_does_not_serve_and_why() -> None:
    head = OtherHead(d_model=16, vocab_size=7)

    with pytest.raises(InputError, match=r"asr export does not serve .* other head: it is another"):
        head.check_serves("asr export")
    head.check_serves("distillation")


def test_what_load_adds_to_the_search_of_a_model(tmp_path: Path) -> None:
    folder = save_tiny_package(tmp_path / "model")
    audio = write_noise(tmp_path / "a.wav", 2.0)
    plain = asr.load(folder, beam=100).transcribe(str(audio)).text.split()
    assert "cat" not in plain
    for hotwords in (["cat"], {"cat": 1.0}):
        model = asr.load(folder, beam=100, hotwords=hotwords, hotword_weight=20.0)
        assert "cat" in model.transcribe(str(audio)).text.split()
    estimate([["cat", "cat"]], order=1).write(tmp_path / "cat.arpa")
    lm = asr.load(folder, beam=100, lm=tmp_path / "cat.arpa", lm_weight=9.0, lm_word_bonus=40.0)
    assert lm.transcribe(str(audio)).text.split() != plain
    with pytest.raises(InputError, match="give lm too"):
        asr.load(folder, lm_weight=1.0)
    with pytest.raises(InputError, match="cannot write"):
        asr.load(folder, hotwords=["zebra"])
    with pytest.raises(InputError, match=r"decode\.beam"):
        asr.load(folder, beam=0)
