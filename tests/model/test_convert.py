"""A trained full model as a reuse schedule, against schedules filled by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.encoder.maps import EncoderLayer
from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.convert import convert, full_attention, module_names, reordered
from tests.encoder.tiny import POSITIONS
from tests.model.configs import ENCODERS, changed, random_waveforms, tiny_model

NONE = {"_target_": "asr.reuse.none.NoReuse"}
METHODS: dict[str, dict[str, Any]] = {
    "probs": {"_target_": "asr.reuse.probs.ReuseProbs"},
    "heads": {"_target_": "asr.reuse.heads.ReuseHeads", "num_reused": 1},
    "scores": {"_target_": "asr.reuse.scores.ReuseScores", "correction": "low_rank", "rank": 2},
    "kv": {"_target_": "asr.reuse.kv.ReuseKeysValues"},
    "context": {"_target_": "asr.reuse.context.ReuseContext"},
}
WAVEFORMS = random_waveforms([4000, 2500])


def config_of(reuse: Mapping[str, Any], positions: str = "relative") -> dict[str, Any]:
    encoder = {**ENCODERS["conformer"], "positions": positions}
    return {**changed("encoder", encoder), "reuse": dict(reuse)}


def grouped(method: str, groups: list[int]) -> dict[str, Any]:
    return {**METHODS[method], "groups": groups}


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("method", METHODS)
def test_groups_of_one_are_the_parent(method: str, positions: str) -> None:
    parent = tiny_model(config_of(NONE, positions))
    found = convert(parent, config_of(grouped(method, [1, 1, 1, 1]), positions))
    assert torch.equal(found.model(*WAVEFORMS)[0], parent(*WAVEFORMS)[0])
    assert not any(one.dropped or one.fresh or one.taken or one.narrowed for one in found.changes)


def by_hand(parent: AsrModel, method: str) -> dict[str, Tensor]:
    """The weights of layers [0, 0, 2, 2] from those of the parent, name by name."""
    weights = dict(parent.state_dict())
    for leader, follower in ((0, 1), (2, 3)):
        at = f"encoder.layers.{follower}.attention"
        scores = [name for name in weights if name.startswith(f"{at}.scores.")]
        if method in ("probs", "scores", "context"):
            for name in scores:
                del weights[name]
        if method == "heads":
            for name in scores:  # the first of two heads
                weights[name] = weights[name][: len(weights[name]) // 2]
        if method == "kv":
            for name in scores:
                if ".key." in name or ".position." in name:
                    del weights[name]
        if method in ("kv", "context"):
            for kind in ("weight", "bias"):
                value = weights.pop(f"{at}.mix.value.{kind}")
                if method == "context":
                    weights[f"encoder.layers.{leader}.attention.followers_value.{kind}"] = value
        if method == "context":
            for kind in ("weight", "bias"):
                del weights[f"encoder.layers.{follower}.attention_norm.{kind}"]
    return weights


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("method", METHODS)
def test_a_schedule_is_filled_as_by_hand(method: str, positions: str) -> None:
    parent = tiny_model(config_of(NONE, positions))
    before = {name: one.clone() for name, one in parent.state_dict().items()}
    config = config_of(grouped(method, [2, 2]), positions)
    found = convert(parent, config).model
    expected = by_hand(parent, method)
    state = found.state_dict()
    fresh = state.keys() - expected.keys()
    assert expected.keys() <= state.keys()
    assert all(".correction." in name for name in fresh) if method == "scores" else not fresh
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
    assert all(torch.equal(one, before[name]) for name, one in parent.state_dict().items())
    assert not found.training


def test_a_context_leader_stacks_the_values_of_its_followers_in_order() -> None:
    parent = tiny_model(config_of(NONE))
    found = convert(parent, config_of(grouped("context", [1, 3])))
    state, own = found.model.state_dict(), parent.state_dict()
    for kind in ("weight", "bias"):
        stacked = [own[f"encoder.layers.{layer}.attention.mix.value.{kind}"] for layer in (2, 3)]
        name = f"encoder.layers.1.attention.followers_value.{kind}"
        assert torch.equal(state[name], torch.cat(stacked))
    alone, lead, *_ = found.changes
    assert alone.taken == ()
    assert lead.taken == ("followers_value.weight", "followers_value.bias")


def test_what_became_of_each_layer() -> None:
    parent = tiny_model(config_of(NONE))
    lead, follow, *_ = convert(parent, config_of(grouped("scores", [2, 2]))).changes
    assert lead.dropped == lead.fresh == ()
    assert follow.layer == 1
    assert module_names(follow.kept) == ["mix.value", "mix.output"]
    assert module_names(follow.fresh) == ["correction.narrow_query", "correction.narrow_key"]
    assert module_names(follow.dropped) == ["scores.query", "scores.key", "scores.positions"]
    narrowed = convert(parent, config_of(grouped("heads", [2, 2]))).changes[1].narrowed
    assert set(narrowed) == set(follow.dropped)


def test_weights_that_the_parent_cannot_give_are_the_same_every_time() -> None:
    parent = tiny_model(config_of(NONE))
    config = config_of(grouped("scores", [4]))
    state = torch.get_rng_state()
    one = convert(parent, config).model.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    other = convert(parent, config).model.state_dict()
    key = "encoder.layers.1.attention.correction.narrow_key.weight"
    assert torch.equal(one[key], other[key])
    assert not torch.equal(one[key], convert(parent, config, seed=1).model.state_dict()[key])


@pytest.mark.parametrize("method", ["probs", "context", "heads"])
def test_heads_are_put_in_order_first(method: str) -> None:
    """As if the parent had been trained with its heads in that order."""
    parent = tiny_model(config_of(NONE))
    turned = tiny_model(config_of(NONE))
    layer: EncoderLayer = turned.encoder.layers[1]  # type: ignore[assignment]
    layer.attention = reordered(full_attention(turned.encoder), {1: [1, 0]})[1]
    torch.testing.assert_close(turned(*WAVEFORMS)[0], parent(*WAVEFORMS)[0], atol=1e-5, rtol=1e-4)
    config = config_of(grouped(method, [2, 2]))
    expected = convert(turned, config).model.state_dict()
    found = convert(parent, config, orders={1: [1, 0]}).model.state_dict()
    assert all(torch.equal(found[name], one) for name, one in expected.items())
    plain = convert(parent, config).model.state_dict()
    assert any(not torch.equal(plain[name], one) for name, one in expected.items())


@pytest.mark.parametrize("method", METHODS)
def test_only_full_attention_can_be_converted(method: str) -> None:
    parent = tiny_model(config_of(grouped(method, [1, 3])))
    with pytest.raises(InputError, match=rf"layer 1 .* \(reuse {method}, lead\); only a model tr"):
        convert(parent, config_of(grouped("probs", [2, 2])))


def test_a_schedule_of_another_depth() -> None:
    with pytest.raises(InputError, match=r"add up to 5 layers, but encoder\.num_layers=4"):
        convert(tiny_model(config_of(NONE)), config_of(grouped("probs", [2, 3])))


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_model_on_a_gpu_is_converted_there(method: str) -> None:
    config = config_of(grouped(method, [2, 2]))
    expected = convert(tiny_model(config_of(NONE)), config, orders={1: [1, 0]}).model.state_dict()
    parent = tiny_model(config_of(NONE)).to("cuda")
    found = convert(parent, config, orders={1: [1, 0]}).model.state_dict()
    for name, one in found.items():
        assert one.is_cuda
        assert torch.equal(one.cpu(), expected[name]), name
