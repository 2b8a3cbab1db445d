"""Training a language model: it learns, is resumed bit for bit, and keeps its best weights."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr.errors import InputError
from asr.lm.transformer import TransformerLm
from asr.train.optim import AdamWSpec
from asr.train.sentences import Sentences, SentenceStream
from asr.train.text import TextFit, TextTrainerSpec, fit_text, mean_loss

VOCAB_SIZE = 12
OPTIM = AdamWSpec(peak_lr=3e-3, warmup_steps=5)


def counting(number: int, *, seed: int) -> list[list[int]]:
    """Sentences that count upwards, each from another token on."""
    random = np.random.default_rng(seed)
    return [
        [1 + (first + step) % (VOCAB_SIZE - 1) for step in range(length)]
        for first, length in zip(
            random.integers(0, VOCAB_SIZE, number), random.integers(1, 9, number), strict=True
        )
    ]


def make(*, dropout: float = 0.1) -> TransformerLm:
    torch.manual_seed(0)
    return TransformerLm(
        vocab_size=VOCAB_SIZE, num_layers=2, d_model=16, num_heads=2, ffn_dim=32, dropout=dropout
    )


def spec(max_steps: int, **settings: Any) -> TextTrainerSpec:
    return TextTrainerSpec(
        max_steps=max_steps, batch_tokens=64, max_tokens=20, validate_every_steps=10, **settings
    )


def fit(model: TransformerLm, run_dir: Path, max_steps: int, **settings: Any) -> TextFit:
    train, other = counting(60, seed=0), counting(20, seed=1)
    return fit_text(
        model,
        Sentences(train, max_tokens=20),
        Sentences(other, max_tokens=20),
        spec=spec(max_steps, **settings),
        optim=OPTIM,
        seed=3,
        run_dir=run_dir,
    )


def test_it_learns_what_comes_next(tmp_path: Path) -> None:
    model = make(dropout=0.0)
    dev = Sentences(counting(20, seed=1), max_tokens=20)
    before = mean_loss(model, dev, 64)
    result = fit(model, tmp_path, 200)
    assert result.num_steps == 200
    assert not result.interrupted
    assert result.loss is not None
    assert result.loss < 0.5 * before
    assert mean_loss(model, dev, 64) == pytest.approx(result.loss)
    with (tmp_path / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["dev_loss_per_token"]) for row in rows if row["dev_loss_per_token"]]
    assert len(losses) == 20
    assert min(losses) == pytest.approx(result.loss)


@pytest.mark.parametrize(
    ("precision", "accelerator"),
    [
        ("bf16", "cpu"),
        pytest.param("bf16", "gpu", marks=pytest.mark.gpu),
        pytest.param("fp16", "gpu", marks=pytest.mark.gpu),
    ],
)
@pytest.mark.filterwarnings("ignore:train.trainer.precision=bf16 on a CPU")
def test_it_learns_in_mixed_precision(tmp_path: Path, precision: str, accelerator: str) -> None:
    model = make(dropout=0.0)
    before = mean_loss(model, Sentences(counting(20, seed=1), max_tokens=20), 64)
    result = fit(model, tmp_path, 100, precision=precision, accelerator=accelerator)
    assert result.loss is not None
    assert result.loss < 0.8 * before
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    """AdamW ignores the length of all gradients alike, but for the epsilon beside it."""
    free, held = make(dropout=0.0), make(dropout=0.0)
    fit(free, tmp_path / "free", 3, gradient_clip=None)
    fit(held, tmp_path / "held", 3, gradient_clip=1e-9)
    start = make(dropout=0.0)

    def moved(model: TransformerLm) -> float:
        pairs = zip(model.parameters(), start.parameters(), strict=True)
        return sum(float((after - before).detach().abs().sum()) for after, before in pairs)

    assert moved(held) < 0.5 * moved(free)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    def fit_constant(model: TransformerLm, max_steps: int, run_dir: Path) -> None:
        fit_text(
            model,
            Sentences(counting(60, seed=0), max_tokens=20),
            None,
            spec=spec(max_steps),
            optim=AdamWSpec(peak_lr=3e-3, warmup_steps=5, decay="constant"),
            seed=3,
            run_dir=run_dir,
        )

    whole, parts = make(), make()
    fit_constant(whole, 40, tmp_path / "whole")
    fit_constant(parts, 15, tmp_path / "parts")
    fit_constant(parts, 40, tmp_path / "parts")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    first, second = make(), make()
    fit(first, tmp_path, 20)
    result = fit(second, tmp_path, 20)
    assert result.num_steps == 20
    assert result.loss is not None
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_no_sentence_and_a_batch_too_small(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"splits\.train: no sentence"):
        fit_text(
            make(),
            Sentences([], max_tokens=9),
            None,
            spec=spec(10),
            optim=OPTIM,
            seed=0,
            run_dir=tmp_path,
        )
    with pytest.raises(InputError, match=r"batch_tokens=64: allowed: more than .*max_tokens=64"):
        TextTrainerSpec(max_steps=1, batch_tokens=64, max_tokens=64)
    with pytest.raises(InputError, match=r"train\.text\.precision='fp8'"):
        TextTrainerSpec(max_steps=1, precision="fp8")


def test_a_pass_takes_every_sentence_once_and_no_batch_is_too_large() -> None:
    sentences = Sentences(counting(200, seed=0), max_tokens=5)
    assert max(sentences.lengths) == 5
    assert len(sentences) > 200  # longer ones are cut
    for random in (None, np.random.default_rng(0)):
        batches = sentences.batches(40, random)
        assert sorted(np.concatenate(batches)) == list(range(len(sentences)))
        for rows in batches:
            assert len(rows) * (sentences.lengths[rows].max() + 1) <= 40


def test_the_stream_goes_on_at_any_step() -> None:
    sentences = Sentences(counting(30, seed=0), max_tokens=20)

    def take(first_step: int, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        stream = iter(SentenceStream(sentences, batch_tokens=40, seed=0, first_step=first_step))
        return [next(stream) for _ in range(number)]

    whole = take(0, 30)
    for first_step in (1, 7, 19):
        for (ids, lengths), (ids_later, lengths_later) in zip(
            whole[first_step:], take(first_step, 30 - first_step), strict=True
        ):
            assert torch.equal(ids, ids_later)
            assert torch.equal(lengths, lengths_later)
