from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer

from asr.errors import InputError
from asr.train.averaging import AveragedWeights, AveragingSpec
from tests.train.standin import TinyModel, run_fit


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Weights and stored buffers after every step of the run under test."""
    seen: list[dict[str, torch.Tensor]] = []
    original = AveragedWeights.on_train_batch_end

    def spy(
        self: AveragedWeights, trainer: Trainer, pl_module: LightningModule, *args: Any
    ) -> None:
        assert isinstance(pl_module.model, TinyModel)
        seen.append({name: value.clone() for name, value in pl_module.model.state_dict().items()})
        original(self, trainer, pl_module, *args)

    monkeypatch.setattr(AveragedWeights, "on_train_batch_end", spy)
    return seen


def test_ema_follows_its_formula_for_weights_and_running_statistics(
    tmp_path: Path, history: list[dict[str, torch.Tensor]]
) -> None:
    model = TinyModel()
    result = run_fit(
        tmp_path,
        model=model,
        max_steps=12,
        validate_every_steps=5,
        averaging=AveragingSpec(kind="ema", decay=0.4),
    )
    assert result.weights == "averaged"
    assert len(history) == 12
    expected = history[0]
    for n, weights in enumerate(history[1:], start=1):
        decay = min(0.4, (1 + n) / (10 + n))
        expected = {
            name: decay * expected[name] + (1 - decay) * value
            if value.is_floating_point()
            else value
            for name, value in weights.items()
        }
    final = model.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(final[name], value, msg=name)
    assert final["norm.num_batches_tracked"] == 12
    assert not torch.equal(final["norm.running_mean"], history[-1]["norm.running_mean"])
    assert not model.training


def test_last_is_the_mean_of_the_last_steps(
    tmp_path: Path, history: list[dict[str, torch.Tensor]]
) -> None:
    model = TinyModel()
    run_fit(
        tmp_path, model=model, max_steps=10, averaging=AveragingSpec(kind="last", last_fraction=0.4)
    )
    mean = torch.stack([weights["leave.weight"] for weights in history[-4:]]).mean(0)
    torch.testing.assert_close(model.leave.weight.detach(), mean)
    running = torch.stack([weights["norm.running_var"] for weights in history[-4:]]).mean(0)
    torch.testing.assert_close(model.state_dict()["norm.running_var"], running)


def test_accumulation_averages_once_a_step(
    tmp_path: Path, history: list[dict[str, torch.Tensor]]
) -> None:
    model = TinyModel()
    averaging = AveragingSpec(kind="last", last_fraction=1.0)
    run_fit(tmp_path, model=model, max_steps=4, accumulate=3, averaging=averaging)
    assert len(history) == 12
    mean = torch.stack([weights["enter.weight"] for weights in history[2::3]]).mean(0)
    torch.testing.assert_close(model.enter.weight.detach(), mean)


def test_validation_leaves_training_as_it_was(tmp_path: Path) -> None:
    averaging = AveragingSpec(kind="ema", decay=0.5)
    one, other = TinyModel(dropout=0.0), TinyModel(dropout=0.0)
    run_fit(tmp_path / "a", model=one, max_steps=6, validate_every_steps=1, averaging=averaging)
    run_fit(tmp_path / "b", model=other, max_steps=6, averaging=averaging)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_bad_settings_name_their_key() -> None:
    with pytest.raises(InputError, match=r"averaging\.kind='swa': allowed: none, ema, last"):
        AveragingSpec(kind="swa")
    with pytest.raises(InputError, match=r"averaging\.decay=1"):
        AveragingSpec(decay=1)
    with pytest.raises(InputError, match=r"set train\.trainer\.max_steps"):
        AveragingSpec(kind="last").build(None)
