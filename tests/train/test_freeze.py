"""Freezing: what is frozen stays as it was, costs no backward pass, and thaws in its turn."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from asr.train.averaging import AveragingSpec
from asr.train.fit import FitSettings, fit
from asr.train.freeze import Freezing
from asr.train.optim import AdamWSpec, PartRate, parameter_groups
from asr.train.trainer import TrainerSpec
from asr.types import Batch
from tests.train.standin import Letters, TinyLoader, decode_greedily
from tests.train.test_real_parts import CONFIG

PROBS = {"_target_": "asr.reuse.probs.ReuseProbs", "group_size": 2}


def make_batch(seed: int) -> Batch:
    """Two utterances of noise, of three tokens each."""
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        utterance_ids=("one", "two"),
        texts=("a b c", "c b a"),
        waveforms_BN=0.1 * torch.randn(2, 8000, generator=generator),
        waveform_lengths_B=torch.tensor([8000, 6000]),
        token_ids_BU=torch.tensor([[1, 2, 3], [3, 2, 1]]),
        token_lengths_B=torch.tensor([3, 3]),
    )


def make_model(reuse: dict[str, Any] | None = None, **encoder: Any) -> AsrModel:
    torch.manual_seed(0)
    config = CONFIG | {"encoder": CONFIG["encoder"] | {"num_layers": 4} | encoder}
    return build_model(config | ({"reuse": reuse} if reuse else {}), vocab_size=6)


def settings(freezing: Freezing, **optim: Any) -> FitSettings:
    return FitSettings(
        train_loader=TinyLoader(num_batches=4, make=make_batch),
        dev_loader=[make_batch(1000)],
        tokenizer=Letters(),
        decoder=decode_greedily,
        optim=AdamWSpec(peak_lr=1e-2, warmup_steps=1, decay="constant", **optim),
        trainer=TrainerSpec(max_steps=6, accelerator="cpu", validate_every_steps=2),
        averaging=AveragingSpec(kind="none"),
        seed=0,
        freezing=freezing,
    )


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """The children of the encoder, single layers and the head that are not as they were."""
    names = [name for name, value in model.state_dict().items() if not value.equal(before[name])]
    depth = {True: 3, False: 2}
    return {
        ".".join(name.split(".")[: depth["layers" in name]]) if "encoder" in name else "head"
        for name in names
    }


def test_what_is_frozen_stays_as_it_was_running_statistics_too(tmp_path: Path) -> None:
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    fit(
        model,
        settings(Freezing(modules=["encoder.subsampling", "layers.0-1"])),
        run_dir=tmp_path,
        resume=False,
    )
    assert changed(model, before) == {"encoder.layers.2", "encoder.layers.3", "head"}


def test_parts_thaw_from_the_top(tmp_path: Path) -> None:
    frozen = Freezing(modules=["encoder"], unfreeze_every_steps=2).of(model := make_model())
    # subsampling with its dropout, and four layers, the last with a norm without weights
    assert [frozen.num_frozen(step) for step in (0, 1, 2, 4, 100)] == [5, 5, 4, 3, 0]
    before = copy.deepcopy(model.state_dict())
    gradual = Freezing(modules=["encoder"], unfreeze_every_steps=2)
    plan = replace(settings(gradual), dev_loader=None)  # leaves the last weights
    fit(model, plan, run_dir=tmp_path, resume=False)
    assert changed(model, before) == {"encoder.layers.2", "encoder.layers.3", "head"}


def seen_graph(model: AsrModel) -> list[bool]:
    """Whether the output of each layer hangs on a graph, after a training loss and backward."""
    hangs: list[bool] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, given: hangs.append(given[0].requires_grad))
        for layer in model.encoder.layers
    ]
    torch.autograd.backward([model.loss(make_batch(0)).loss])
    for hook in hooks:
        hook.remove()
    return hangs


@pytest.mark.parametrize("checkpointing", ["none", "groups"])
def test_the_frozen_prefix_runs_without_autograd(checkpointing: Any) -> None:
    model = make_model(PROBS).train()
    model.encoder.checkpointing = checkpointing
    assert seen_graph(model)[:4] == [True] * 4
    recorded: list[bool] = []
    model.encoder.layers[0].register_forward_pre_hook(
        lambda *_: recorded.append(torch.is_grad_enabled())
    )
    Freezing(modules=["encoder.subsampling", "layers.0-2"]).of(model).apply(0)
    model.zero_grad()
    # layer 3 follows layer 2, whose map it needs from a run as in training
    assert model.encoder.num_frozen_layers() == 2
    assert seen_graph(model)[:4] == [False, False, False, True]
    assert recorded == [False]
    gradients = {n for n, p in model.named_parameters() if p.grad is not None}
    assert gradients
    assert all(name.startswith(("encoder.layers.3.", "head.")) for name in gradients)
    # frozen layers above trained ones pass the gradient on
    Freezing(modules=["layers.2-3"]).of(other := make_model()).apply(0)
    assert other.encoder.num_frozen_layers() == 0
    torch.autograd.backward([other.loss(make_batch(0)).loss])
    first = next(other.encoder.layers[0].parameters())
    assert first.grad is not None


def test_losses_and_gradients_are_those_of_a_model_that_is_not_frozen() -> None:
    model = make_model(PROBS, dropout=0.0).eval()
    whole = copy.deepcopy(model)
    Freezing(modules=["encoder.subsampling", "layers.0-1"]).of(model).apply(0)
    losses = [one.loss(make_batch(0)).loss for one in (model, whole)]
    assert losses[0] > 1
    torch.testing.assert_close(*losses)
    for loss in losses:
        torch.autograd.backward([loss])
    theirs = dict(whole.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-5)


def test_rates_of_parts() -> None:
    model = make_model()
    parts = [PartRate(part="encoder", factor=0.1), PartRate(part="layers.3", factor=0.5)]
    optimizer, schedule = AdamWSpec(
        peak_lr=2.0, warmup_steps=2, decay="constant", parts=parts
    ).build(model, total_steps=None, fused=False)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rates = {
        name: rate[id(parameter)]
        for name, parameter in model.named_parameters()
        if name.endswith("norm.weight") or name.startswith("head")
    }
    assert rates["head.project.weight"] == 1.0  # half way up to the peak
    assert rates["encoder.layers.0.norm.weight"] == pytest.approx(0.1)
    assert rates["encoder.layers.3.norm.weight"] == pytest.approx(0.5)
    optimizer.step()
    schedule.step()
    assert {round(group["lr"], 6) for group in optimizer.param_groups} == {2.0, 0.2, 1.0}
    assert sum(len(group["params"]) for group in parameter_groups(model, 0.1, parts)) == len(
        list(model.parameters())
    )


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (["layers.0-9"], "no module layers.0-9; such as .*, layers.0 to layers.3"),
        (["encoder.heads"], "no module encoder.heads; such as encoder, encoder.subsampling"),
        ([""], "no module"),
        (["encoder", "head"], "nothing is left to train"),
    ],
)
def test_modules_that_are_not_there(modules: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Freezing(modules=modules).of(make_model())


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(InputError, match="there is nothing frozen"):
        Freezing(unfreeze_every_steps=3)
    with pytest.raises(InputError, match="not with 2 processes"):
        Freezing(modules=["encoder"], unfreeze_every_steps=3).check(num_processes=2)
    with pytest.raises(InputError, match="no module tail"):
        parameter_groups(make_model(), 0.0, [PartRate(part="tail", factor=2.0)])
