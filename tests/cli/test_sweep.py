from __future__ import annotations

import pytest

from asr.cli.override import expand_sweep
from asr.errors import InputError


def test_one_list_for_every_combination_the_last_varying_fastest() -> None:
    assert expand_sweep(["reuse=none,probs", "train.trainer.max_steps=5", "seeds=2"]) == [
        ["reuse=none", "train.trainer.max_steps=5", "seed=0"],
        ["reuse=none", "train.trainer.max_steps=5", "seed=1"],
        ["reuse=probs", "train.trainer.max_steps=5", "seed=0"],
        ["reuse=probs", "train.trainer.max_steps=5", "seed=1"],
    ]


def test_commas_in_brackets_and_quotes_belong_to_one_value() -> None:
    assert expand_sweep(["reuse.groups=[4,4]", "name='a,b'"]) == [
        ["reuse.groups=[4,4]", "name='a,b'"]
    ]
    assert expand_sweep(["reuse.groups=[4,4],[8]"]) == [
        ["reuse.groups=[4,4]"],
        ["reuse.groups=[8]"],
    ]


def test_nothing_to_vary_is_one_run() -> None:
    assert expand_sweep([]) == [[]]
    assert expand_sweep(["encoder=conformer_m"]) == [["encoder=conformer_m"]]


@pytest.mark.parametrize("override", ["seeds=0", "seeds=x", "seeds=1,2", "seeds=true"])
def test_seeds_is_a_count(override: str) -> None:
    with pytest.raises(InputError, match="the number of seeds"):
        expand_sweep([override])
