"""Training of a language model on sentences of tokens, to the lowest loss on dev.

A resumed run continues at the batch after its checkpoint.

Shape legend: N sentences, U tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from asr.errors import InputError
from asr.lm.sampled_softmax import SampledSoftmax
from asr.lm.transformer import TransformerLm
from asr.ranges import MAX_VOCABULARY, Count, Range, Threads, in_ranges
from asr.train.checkpoint import BEST, LAST, PlainCheckpointIO, read_checkpoint, write_checkpoint
from asr.train.control import Interrupt
from asr.train.failures import OwnErrorFirst
from asr.train.logs import CsvLog
from asr.train.optim import AdamWSpec, can_fuse
from asr.train.progress import quiet_lightning
from asr.train.sentences import Sentences, SentenceStream
from asr.train.state import random_state, seed_all, set_random_state
from asr.train.trainer import TrainerSpec

_REPORT_EVERY_S = 10.0


@in_ranges("train.text")
@dataclass(frozen=True, kw_only=True)
class TextTrainerSpec:
    """Length, batches and device of a language model's training.

    Args:
        max_steps: optimiser steps.
        batch_tokens: tokens of a batch, with padding.
        max_tokens: of a sentence; longer ones are cut into several.
        validate_every_steps: steps between two validations; each writes a checkpoint.
        gradient_clip: largest norm of the gradient; None does not clip.
        sampled_tokens: number of tokens sampled for the training loss, see
            `asr.lm.sampled_softmax`; None uses all tokens, as the loss on dev always does.
        precision, accelerator, num_threads: see `asr.train.trainer.TrainerSpec`.

    Raises:
        InputError: a value is outside its range, or a sentence can be longer than a batch.
    """

    max_steps: Count
    batch_tokens: Annotated[int, Range(16, 10**7)] = 4096
    max_tokens: Annotated[int, Range(2, 100_000)] = 256
    validate_every_steps: Count = 500
    gradient_clip: Annotated[float, Range(0, 1e6, above=True)] | None = 1.0
    sampled_tokens: Annotated[int, Range(1, MAX_VOCABULARY)] | None = None
    precision: str = "fp32"
    accelerator: str = "auto"
    num_threads: Threads | None = None

    def __post_init__(self) -> None:
        if self.batch_tokens <= self.max_tokens:
            raise InputError(
                f"train.text.batch_tokens={self.batch_tokens}: allowed: more than "
                f"train.text.max_tokens={self.max_tokens}"
            )
        self.machine()

    def machine(self) -> TrainerSpec:
        """Return the same device and precision as settings of a recogniser's run."""
        try:
            return TrainerSpec(
                max_steps=self.max_steps,
                precision=self.precision,
                accelerator=self.accelerator,
                gradient_clip=self.gradient_clip,
                num_threads=self.num_threads,
            )
        except InputError as error:
            raise error.moved("train.trainer", "train.text") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFit:
    """The result: ``loss`` is the lowest on dev, in nats a token; None without a dev text."""

    num_steps: int
    train_s: float
    loss: float | None
    interrupted: bool


def fit_text(
    model: TransformerLm,
    train: Sentences,
    dev: Sentences | None,
    *,
    spec: TextTrainerSpec,
    optim: AdamWSpec,
    seed: int,
    run_dir: Path,
    report: Callable[[str], None] = lambda line: None,
) -> TextFit:
    """Train ``model`` in place and keep the best weights; it ends on the CPU, in eval mode.

    ``run_dir`` gets ``checkpoints/last.ckpt``, from which a later call resumes,
    ``checkpoints/best.ckpt`` and ``logs/metrics.csv``; ``report`` gets lines for people. Ctrl-C
    ends the run after the current step; a second one aborts.

    Raises:
        InputError: there is no sentence to train on, the checkpoint is of another model, or the
            device does not exist.
    """
    if not len(train):
        raise InputError("splits.train: no sentence to train on")
    folder = run_dir / "checkpoints"
    last = folder / LAST
    begun = read_checkpoint(last) if last.is_file() else None
    first_step = int(begun["global_step"]) if begun else 0
    seed_all(seed)
    model.train()
    sampled = None
    if spec.sampled_tokens is not None:
        sampled = SampledSoftmax(train.counts(model.vocab_size), spec.sampled_tokens)
    module = _TextModule(model, optim, spec, dev, folder, sampled)
    if begun is not None:
        report(f"resuming at step {first_step:,}")
        module.resume(begun)
    if first_step < spec.max_steps:
        stream = SentenceStream(
            train, batch_tokens=spec.batch_tokens, seed=seed, first_step=first_step
        )
        machine = spec.machine()
        if spec.num_threads is not None:
            torch.set_num_threads(spec.num_threads)
        with quiet_lightning():
            trainer = Trainer(
                accelerator=machine.resolve_accelerator(),
                precision=machine.lightning_precision,
                max_steps=spec.max_steps,
                logger=CsvLog(run_dir / "logs", resumed_step=first_step),
                callbacks=[OwnErrorFirst(), _Control(module, report)],
                plugins=[PlainCheckpointIO()],
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                default_root_dir=run_dir,
            )
            trainer.fit(
                module,
                DataLoader(stream, batch_size=None),
                ckpt_path=last if begun else None,
                weights_only=True,
            )
    best = folder / BEST
    if best.is_file():
        model.load_state_dict(read_checkpoint(best)["model"])
    model.cpu().eval()
    return TextFit(
        num_steps=module.num_steps,
        train_s=module.train_s,
        loss=module.best_loss,
        interrupted=module.num_steps < spec.max_steps,
    )


def mean_loss(model: TransformerLm, sentences: Sentences, batch_tokens: int) -> float:
    """Return the loss of ``sentences`` in nats a token, with their ends."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for rows in sentences.batches(batch_tokens):
            ids_NU, lengths_N = sentences.batch(rows)
            total -= float(model(ids_NU.to(device), lengths_N.to(device)).double().sum())
    model.train(was_training)
    return total / sentences.num_predicted


class _TextModule(LightningModule):
    """The loss, the optimiser, and the run's data for checkpoints."""

    def __init__(
        self,
        model: TransformerLm,
        optim: AdamWSpec,
        spec: TextTrainerSpec,
        dev: Sentences | None,
        folder: Path,
        sampled: SampledSoftmax | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.dev = dev
        self.folder = folder
        self.sampled = sampled
        self.num_steps = 0
        self.train_s = 0.0
        self.best_loss: float | None = None
        self._optim = optim
        self._random: Any = None

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch in nats a token."""
        ids_NU, lengths_N = batch
        if self.sampled is not None:
            return self.model.sampled_losses(ids_NU, lengths_N, self.sampled).mean()
        loss: Tensor = -self.model(ids_NU, lengths_N).sum() / (lengths_N.sum() + len(lengths_N))
        return loss

    def configure_optimizers(self) -> Any:
        """Build AdamW and its schedule, stepped after every step."""
        optimizer, schedule = self._optim.build(
            self.model, total_steps=self.spec.max_steps, fused=can_fuse(self)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to the configured norm; Lightning's own refuses AdamW's fused kernel in bf16."""
        if self.spec.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.gradient_clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the random state, the time and the best loss."""
        checkpoint["random"] = random_state()
        checkpoint["text"] = {"train_s": self.train_s, "best_loss": self.best_loss}

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` stored."""
        if "text" not in checkpoint:
            raise InputError(f"{self.folder / LAST}: not a checkpoint of a language model")
        self.num_steps = int(checkpoint["global_step"])
        self.train_s = checkpoint["text"]["train_s"]
        self.best_loss = checkpoint["text"]["best_loss"]
        self._random = checkpoint["random"]
        weights = {
            name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()
        }
        self.model.load_state_dict(weights)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Restore the random state, once, at the first batch."""
        if self._random is not None:
            set_random_state(self._random)
            self._random = None

    def validate(self) -> float | None:
        """Return the loss on dev; if it is the lowest, write the weights to ``best.ckpt``."""
        if self.dev is None:
            return None
        loss = mean_loss(self.model, self.dev, self.spec.batch_tokens)
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss = loss
            weights = {name: one.cpu() for name, one in self.model.state_dict().items()}
            content = {"model": weights, "step": self.num_steps, "dev_loss": loss}
            write_checkpoint(content, self.folder / BEST)
        return loss


class _Control(Callback):
    """A callback that validates, saves, reports and stops."""

    def __init__(self, module: _TextModule, report: Callable[[str], None]) -> None:
        self._module = module
        self._report = report
        self._interrupt = Interrupt()
        self._began = self._told = time.monotonic()
        self._before_s = module.train_s

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Catch signals from now on."""
        self._module.folder.mkdir(parents=True, exist_ok=True)
        self._interrupt.install()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        self._interrupt.restore()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the step; validate, save, report or stop if due."""
        module, step = self._module, trainer.global_step
        module.num_steps = step
        now = time.monotonic()
        module.train_s = self._before_s + now - self._began
        is_last = step == module.spec.max_steps or self._interrupt.requested
        if is_last or step % module.spec.validate_every_steps == 0:
            dev_loss = module.validate()
            self._tell(trainer, outputs, dev_loss)
            trainer.save_checkpoint(module.folder / LAST)
        elif now - self._told > _REPORT_EVERY_S:
            self._tell(trainer, outputs, None)
        if self._interrupt.requested:
            trainer.should_stop = True

    def _tell(self, trainer: Trainer, outputs: Any, dev_loss: float | None) -> None:
        """Log a row and report a line."""
        self._told = time.monotonic()
        module, loss = self._module, float(outputs["loss"])
        if not math.isfinite(loss):
            raise InputError(
                f"the loss at step {module.num_steps} is {loss}; lower train.optim.peak_lr or set "
                "train.text.gradient_clip"
            )
        row = {"loss_per_token": loss, "train_s": module.train_s}
        if dev_loss is not None:
            row["dev_loss_per_token"] = dev_loss
        for logger in trainer.loggers:
            logger.log_metrics(row, module.num_steps)
        told = "" if dev_loss is None else f", dev {dev_loss:.3f} (perplexity {_exp(dev_loss)})"
        left = module.train_s / module.num_steps * (module.spec.max_steps - module.num_steps)
        self._report(
            f"step {module.num_steps:,}/{module.spec.max_steps:,}: loss {loss:.3f} nats a token"
            f"{told}, left {left / 60:.0f} min"
        )


def _exp(loss: float) -> str:
    return f"{math.exp(min(loss, 50.0)):.1f}"
