"""Two processes with the whole model each, or a piece of it each, and what they leave behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.distributed import rank
from asr.errors import RunError
from asr.model.asr_model import AsrModel
from asr.model.build import build_model
from asr.train.averaging import AveragingSpec
from asr.train.checkpoint import read_checkpoint
from asr.train.fit import FitSettings, fit
from asr.train.optim import AdamWSpec
from asr.train.trainer import TrainerSpec
from asr.types import Batch

from .standin import VOCAB, Letters, TinyLoader, decode_greedily, logged
from .test_real_parts import CONFIG
from .two_processes import in_two_processes

NUM_STEPS = 5
CUT = 2
NONE, EMA = AveragingSpec(kind="none"), AveragingSpec(kind="ema", decay=0.8)
CONFORMER = CONFIG["encoder"]
TRANSFORMER = {name: value for name, value in CONFORMER.items() if name != "conv_kernel_size"} | {
    "_target_": "asr.encoder.transformer.Transformer"
}
PROBS = {"_target_": "asr.reuse.probs.ReuseProbs", "group_size": 2}
CONTEXT = {"_target_": "asr.reuse.context.ReuseContext", "group_size": 2}


def make_model(encoder: dict[str, Any], reuse: dict[str, Any], dropout: float) -> AsrModel:
    torch.manual_seed(0)
    config = {
        "features": {"fbank": CONFIG["features"]["fbank"] | {"dither": 0.0}},
        "encoder": encoder | {"dropout": dropout},
        "reuse": reuse,
        "head": CONFIG["head"],
    }
    return build_model(config, vocab_size=VOCAB)


def make_batch(seed: int) -> Batch:
    """Noise; in the batch of seed 2 no utterance of the first process has an alignment."""
    generator = torch.Generator().manual_seed(seed)
    num_tokens = 40 if seed == 2 else 3
    return Batch(
        utterance_ids=(f"{seed}-0", f"{seed}-1"),
        texts=("a b", "c"),
        waveforms_BN=torch.randn(2, 4000, generator=generator),
        waveform_lengths_B=torch.tensor([4000, 3500]),
        token_ids_BU=torch.randint(1, VOCAB, (2, num_tokens), generator=generator),
        token_lengths_B=torch.tensor([num_tokens, num_tokens]),
    )


class CutError(Exception):
    """What ends a run in the middle of a step."""


def train(
    run_dir: Path,
    strategy: str,
    *,
    encoder: dict[str, Any] = TRANSFORMER,
    reuse: dict[str, Any] = PROBS,
    averaging: AveragingSpec = EMA,
    dropout: float = 0.0,
    devices: int = 2,
    accumulate: int = 1,
    resume: bool = False,
    cut: bool = False,
    loader: type[TinyLoader] = TinyLoader,
    dev: Sequence[Batch] | None = None,
    num_steps: int = NUM_STEPS,
) -> AsrModel:
    """Train for five steps, each process on batches of its own; ``cut`` off in the fourth."""
    model = make_model(encoder, reuse, dropout)
    made: list[int] = []

    def make(number: int) -> Batch:
        made.append(number)
        if cut and len(made) == CUT + 3:  # one is read ahead
            raise CutError
        return make_batch(2 * number + rank() if devices == 2 else number)

    settings = FitSettings(
        tokenizer=Letters(),
        train_loader=loader(num_batches=20, make=make),
        dev_loader=[make_batch(9001)] if dev is None else dev,
        optim=AdamWSpec(peak_lr=3e-3, warmup_steps=2, decay="constant"),
        trainer=TrainerSpec(
            max_steps=num_steps,
            accelerator="cpu",
            devices=devices,
            strategy=strategy,
            accumulate=accumulate,
            validate_every_steps=2,
            validate_every_epochs=None,
            log_every_steps=1,
            print_every_s=1000.0,
        ),
        averaging=averaging,
        seed=1,
        decoder=decode_greedily,
        largest_batch=make_batch(8000),
    )
    fit(model, settings, run_dir=run_dir, resume=resume)
    return model


def last(run_dir: Path) -> dict[str, Any]:
    return read_checkpoint(run_dir / "checkpoints" / "last.ckpt")


def leaves(tree: object, where: str = "") -> dict[str, Any]:
    """Tensors and values of nested dicts and lists by their place.

    Without biases of keys, which change nothing: their gradient is rounding, which Adam blows up.
    """
    if isinstance(tree, dict):
        pairs = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        pairs = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {where: tree}
    return {
        name: leaf
        for key, value in pairs
        for name, leaf in leaves(value, f"{where}.{key}").items()
        if not name.endswith("key.bias")
    }


def assert_alike(one: Any, other: Any, *, tolerance: float) -> None:
    ours, theirs = leaves(one), leaves(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if isinstance(value, torch.Tensor):
            where = f"{name}: {{}}".format
            torch.testing.assert_close(
                value, theirs[name], rtol=tolerance, atol=tolerance, msg=where
            )
        else:
            assert value == theirs[name], name


ROUNDING = 5e-4  # a sixth of a step: Adam blows up the rounding of gradients that are almost zero
WEIGHTS = ("state_dict", "optimizer_states", "lr_schedulers")


def pieces_train_as_the_whole(tmp_path: Path) -> None:
    train(tmp_path / "ddp", "ddp", reuse=CONTEXT)
    model = train(tmp_path / "fsdp", "fsdp", reuse=CONTEXT)
    if rank() == 0:
        torch.save(model.state_dict(), tmp_path / "final.pt")


def test_pieces_train_as_the_whole(tmp_path: Path) -> None:
    in_two_processes(partial(pieces_train_as_the_whole, tmp_path))
    train(tmp_path / "one", "auto", reuse=CONTEXT, devices=1, accumulate=2)
    for column in ("train_loss", "grad_norm", "dev_loss", "dev_wer"):
        expected = logged(tmp_path / "one", column)
        for kind in ("ddp", "fsdp"):
            assert logged(tmp_path / kind, column) == pytest.approx(expected, rel=1e-4), kind
    whole, pieces = last(tmp_path / "ddp"), last(tmp_path / "fsdp")
    assert whole.keys() == pieces.keys()
    for key in (*WEIGHTS, "current_model_state", "averaging_state"):
        assert_alike(pieces[key], whole[key], tolerance=ROUNDING)
    final = torch.load(tmp_path / "final.pt", weights_only=True)
    assert_alike({f"model.{k}": v for k, v in final.items()}, pieces["state_dict"], tolerance=0)
    best = read_checkpoint(tmp_path / "fsdp" / "checkpoints" / "best.ckpt")
    assert best["model"].keys() == final.keys()
    assert best["dev_wer"] == last(tmp_path / "fsdp")["run"]["best_wer"]


def cut_off_and_resumed(tmp_path: Path, strategies: tuple[str, str], **settings: Any) -> None:
    first, then = strategies
    train(tmp_path / "whole", first, **settings)
    with pytest.raises(CutError):
        train(tmp_path / "cut", first, cut=True, **settings)
    train(tmp_path / "cut", then, resume=True, **settings)


@pytest.mark.parametrize(("strategy", "averaging"), [("ddp", NONE), ("fsdp", EMA)])
def test_a_resumed_run_equals_one_that_never_stopped_bit_for_bit(
    tmp_path: Path, strategy: str, averaging: AveragingSpec
) -> None:
    work = partial(
        cut_off_and_resumed,
        tmp_path,
        (strategy, strategy),
        encoder=CONFORMER,
        averaging=averaging,
        dropout=0.1,
    )
    in_two_processes(work)
    for column in ("train_loss", "grad_norm", "dev_loss"):
        assert logged(tmp_path / "whole", column) == logged(tmp_path / "cut", column)
    whole, cut = last(tmp_path / "whole"), last(tmp_path / "cut")
    assert cut["run"]["num_resumed"] == 1
    assert len(whole["random"]) == 2
    for key in (*WEIGHTS, "random"):
        assert_alike(cut[key], whole[key], tolerance=0)


def test_a_run_goes_on_in_pieces(tmp_path: Path) -> None:
    in_two_processes(partial(cut_off_and_resumed, tmp_path, ("ddp", "fsdp")))
    whole, cut = last(tmp_path / "whole"), last(tmp_path / "cut")
    for key in (*WEIGHTS, "current_model_state"):
        assert_alike(cut[key], whole[key], tolerance=ROUNDING)


def shared_dev(run_dir: Path, strategy: str, num_batches: int) -> None:
    batches = [make_batch(9000 + number) for number in range(num_batches)]
    devices = 1 if strategy == "auto" else 2
    train(
        run_dir, strategy, devices=devices, accumulate=3 - devices, dev=batches[rank() :: devices]
    )


@pytest.mark.parametrize("num_batches", [1, 3])
def test_shares_of_the_development_set_make_up_the_whole(tmp_path: Path, num_batches: int) -> None:
    for strategy in ("ddp", "fsdp"):
        in_two_processes(partial(shared_dev, tmp_path / strategy, strategy, num_batches))
    shared_dev(tmp_path / "one", "auto", num_batches)
    for column in ("dev_loss", "dev_wer"):
        expected = logged(tmp_path / "one", column)
        assert len(expected) == 3
        for strategy in ("ddp", "fsdp"):
            assert logged(tmp_path / strategy, column) == pytest.approx(expected, rel=1e-4)
    for name in ("audio_s", "num_left_out", "num_steps"):
        expected_count = last(tmp_path / "one")["run"][name]
        assert expected_count > 0
        for strategy in ("ddp", "fsdp"):
            assert last(tmp_path / strategy)["run"][name] == pytest.approx(expected_count)


class LosesAudio(TinyLoader):
    """Every process cannot read one utterance; together they may lose one alone."""

    @property
    def unreadable(self) -> list[str]:
        return [f"lost by {rank()}"]

    def check_unreadable(self, unreadable: Collection[str]) -> None:
        if len(unreadable) > 1:
            raise RunError(f"lost: {sorted(unreadable)}")


def test_the_limit_of_what_cannot_be_read_is_that_of_all_processes(tmp_path: Path) -> None:
    def work() -> None:
        with pytest.raises(RunError, match=r"lost: \['lost by 0', 'lost by 1'\]"):
            train(tmp_path / "two", "ddp", loader=LosesAudio, num_steps=40)

    in_two_processes(work)
    train(tmp_path / "one", "auto", loader=LosesAudio, num_steps=12, devices=1)
    assert last(tmp_path / "one")["run"]["unreadable"] == ["lost by 0"]


def unequal_batch(seed: int) -> Batch:
    """Five utterances, then thirteen, then both together: an epoch of either kind."""
    generator = torch.Generator().manual_seed(seed // 3)
    waveforms_BN = torch.randn(18, 4000, generator=generator)
    token_ids_BU = torch.randint(1, VOCAB, (18, 3), generator=generator)
    part = (slice(0, 5), slice(5, 18), slice(0, 18))[seed % 3]
    num = len(waveforms_BN[part])
    return Batch(
        utterance_ids=tuple(f"{seed}-{index}" for index in range(num)),
        texts=("a b",) * num,
        waveforms_BN=waveforms_BN[part],
        waveform_lengths_B=torch.arange(2000, 3800, 100)[part],
        token_ids_BU=token_ids_BU[part],
        token_lengths_B=torch.full((num,), 3),
    )


def train_unequal(
    run_dir: Path, seeds: list[int], encoder: dict[str, Any], **settings: Any
) -> None:
    model = make_model(encoder, PROBS, 0.0)
    fit_settings = FitSettings(
        tokenizer=Letters(),
        train_loader=TinyLoader(num_batches=20, make=lambda number: unequal_batch(seeds[number])),
        dev_loader=[make_batch(9001)],
        optim=AdamWSpec(peak_lr=3e-3, warmup_steps=2, decay="constant"),
        trainer=TrainerSpec(accelerator="cpu", log_every_steps=1, **settings),
        averaging=NONE,
        seed=1,
        decoder=decode_greedily,
    )
    fit(model, fit_settings, run_dir=run_dir, resume=False)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_unequal_shares_give_the_gradient_of_all_their_utterances(
    tmp_path: Path, strategy: str
) -> None:
    def work() -> None:
        seeds = [3 * step + rank() for step in range(6)]
        settings = {"max_steps": 3, "devices": 2, "strategy": strategy}
        train_unequal(tmp_path / "two", seeds, CONFORMER, **settings)

    in_two_processes(work)
    train_unequal(tmp_path / "one", [3 * step + 2 for step in range(6)], CONFORMER, max_steps=3)
    assert logged(tmp_path / "two", "grad_norm") == pytest.approx(
        logged(tmp_path / "one", "grad_norm"), rel=1e-4
    )
    two, one = last(tmp_path / "two")["state_dict"], last(tmp_path / "one")["state_dict"]
    running = {name: value for name, value in one.items() if "running" in name}
    assert running
    for name, value in running.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)


def test_unequal_batches_of_a_step_give_the_gradient_of_all_their_utterances(
    tmp_path: Path,
) -> None:
    seeds = [3 * step + part for step in range(6) for part in (0, 1)]
    train_unequal(tmp_path / "two", seeds, TRANSFORMER, max_steps=3, accumulate=2)
    train_unequal(tmp_path / "one", [3 * step + 2 for step in range(6)], TRANSFORMER, max_steps=3)
    assert logged(tmp_path / "two", "grad_norm") == pytest.approx(
        logged(tmp_path / "one", "grad_norm"), rel=1e-4
    )
