"""Which search reads which head, and what a head refuses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from asr.decode.greedy import GreedyDecoder
from asr.decode.search import build_search
from asr.errors import InputError
from asr.head.ctc import CtcHead
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

    with pytest.raises(InputError, match=r"searches what a ctc head gives; .* is other") as raised:
        build_search(CONFIG["decode"], model)

    assert len(str(raised.value).splitlines()) == 1


def test_a_head_says_what_it_does_not_serve_and_why() -> None:
    head = OtherHead(d_model=16, vocab_size=7)

    with pytest.raises(InputError, match=r"asr export does not serve .* other head: it is another"):
        head.check_serves("asr export")
    head.check_serves("distillation")
