"""Training and validation steps of a recogniser.

Shape legend: B batch, N samples, T frames, U tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from asr.features.specaugment import SpecAugment
from asr.head.base import HeadLoss
from asr.metrics.wer import WordErrors, corpus_wer
from asr.model.asr_model import AsrModel
from asr.train.distillation import Distiller
from asr.train.finite import FiniteGuard
from asr.train.freeze import Freezing, Frozen
from asr.train.optim import FACTOR, AdamWSpec, can_fuse, scales_loss
from asr.train.sharding import gathered, local, shard, whole
from asr.train.state import RunningMeans, RunState
from asr.train.stream import DevItem, StreamItem
from asr.types import Batch, Hypothesis, UtteranceResult

_NUM_EXAMPLES = 2


class TextDecoder(Protocol):
    """Token ids to text; a :class:`asr.text.tokenizer.Tokenizer` is one."""

    def decode(self, token_ids: Sequence[int], /) -> str:
        """Return the text of ``token_ids``."""


class FrameDecoder(Protocol):
    """A head's output to hypotheses; :class:`asr.decode.greedy.GreedyDecoder` is one."""

    def __call__(self, outputs_BTX: Tensor, lengths_B: Tensor, /) -> list[Hypothesis]:
        """Return one hypothesis for each utterance."""


class AsrModule(LightningModule):
    """A ``model`` with its optimiser, as a Lightning module.

    The model has ``loss(batch)``, which returns ``.loss`` and ``.num_left_out``;
    ``forward(waveforms_BN, lengths_B)``, which returns the input of ``decoder`` (B, T, X) and
    lengths; and ``utterance_losses`` of these. The module logs nothing: it adds every batch to each
    of ``running_means``, which callbacks add and read. With a ``distiller``, the training loss is
    the distiller's, and the model must be an `AsrModel`. ``freezing`` says what is not trained.

    ``grad_norm`` (scalar on the device, before clipping) and ``lr`` are those of the last step.
    ``dev_metrics`` holds ``dev_wer`` (percent), ``dev_loss`` and ``dev_loss_per_token`` of the last
    validation, ``examples`` its first few references with their hypotheses; ``all_empty`` is true
    if every hypothesis was empty. ``batch`` is the last batch of training or validation.

    ``final_weights`` are the weights at the end of training; of a sharded model only in the first
    process.

    ``make_guard`` builds the guard of the steps from the model, ``state`` and ``scaled``.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tokenizer: TextDecoder,
        decoder: FrameDecoder,
        optim: AdamWSpec,
        state: RunState,
        total_steps: int | None,
        gradient_clip: float | None,
        make_guard: Callable[..., FiniteGuard],
        distiller: Distiller | None = None,
        freezing: Freezing | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.running_means: list[RunningMeans] = []
        self.grad_norm: Tensor | None = None
        self.lr = 0.0
        self.batch: Batch | None = None
        self.dev_metrics: dict[str, float] = {}
        self.examples: list[tuple[str, str]] = []
        self.all_empty = False
        self.final_weights: dict[str, Tensor] | None = None
        self._tokenizer = tokenizer
        self._decoder = decoder
        self._optim = optim
        self._state = state
        self._total_steps = total_steps
        self._gradient_clip = gradient_clip
        self._distiller = distiller
        self._freezing = freezing or Freezing()
        self._frozen: Frozen | None = None
        self._make_guard = make_guard
        self._guard: FiniteGuard | None = None
        self._ramped: list[SpecAugment] = []
        self._num_kept = 0

    def configure_model(self) -> None:
        """Freeze what is never trained, and shard the model if asked to.

        Parts that are unfrozen later get gradients until training starts, so that the optimiser
        knows them, and the memory check covers all that is ever trained.
        """
        self._frozen = self._freezing.of(self.model)
        if not self._frozen.is_gradual:
            self._frozen.apply(0)
        mesh = self.device_mesh
        if mesh is not None:
            assert isinstance(self.model, AsrModel)
            self.model.head.check_serves("training in shards")
            shard(self.model, mesh["data_parallel"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW and its schedule, stepped with every optimiser step."""
        optimizer, schedule = self._optim.build(
            self.model, total_steps=self._total_steps, fused=can_fuse(self)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def _is_sharded(self) -> bool:
        return self.device_mesh is not None

    def on_train_start(self) -> None:
        """Apply freezing, find parts that ramp, and start the guard before the first step."""
        assert self._frozen is not None
        self._frozen.apply(self.trainer.global_step)
        self._ramped = [part for part in self.model.modules() if isinstance(part, SpecAugment)]
        self._guard = self._make_guard(self.model, self._state, scaled=scales_loss(self.trainer))

    def on_train_end(self) -> None:
        """Count the last steps, and gather the final weights."""
        self.count_bad_steps()
        self.final_weights = gathered(self.model.state_dict())

    def count_bad_steps(self) -> None:
        """Update the counts in the state to the current step; raise as the guard does."""
        assert self._guard is not None
        self._guard.read()

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Return ``batch`` on ``device``."""
        return batch if device.type == "cpu" else batch.to(device)

    def training_step(self, item: StreamItem, batch_idx: int) -> Tensor:
        """Return the loss of one batch; exactly zero if no utterance of it is kept."""
        self.batch = batch = item.batch
        assert self._frozen is not None
        self._frozen.advance(self.trainer.global_step)
        for part in self._ramped:
            part.num_steps = self.trainer.global_step
        result = self.batch_loss(batch)
        loss: Tensor = result.loss
        self._state.num_left_out += result.num_left_out
        num_kept = max(0, len(batch) - result.num_left_out)
        if not num_kept:
            loss = self._zero_loss(loss)
        assert self._guard is not None
        self._guard.add_batch(loss, batch.utterance_ids)
        kept = loss.detach() if num_kept else None
        for means in self.running_means:
            means.add(
                wait_s=item.wait_s,
                audio_s=item.audio_s,
                loss=kept,
                num_utterances=num_kept,
                num_tokens=batch.token_lengths_B.sum() * (num_kept / len(batch)),
            )
        self._num_kept += num_kept
        return loss * num_kept if self._num_shares > 1 else loss

    def batch_loss(self, batch: Batch) -> HeadLoss:
        """Return the loss that training minimises, for one batch."""
        if self._distiller is not None:
            assert isinstance(self.model, AsrModel)
            return self._distiller.loss(self.model, batch)
        result: HeadLoss = self.model.loss(batch)  # type: ignore[operator]
        return result

    @property
    def _num_shares(self) -> int:
        """Batches in a step, over all processes."""
        return self.trainer.accumulate_grad_batches * self.trainer.world_size

    def _zero_loss(self, loss: Tensor) -> Tensor:
        """Return zero; if other processes wait for it, backward reaches the whole model."""
        if self._is_sharded:
            return 0.0 * loss
        sums = [p.sum() for p in self.model.parameters() if p.requires_grad]
        zero = torch.stack(sums).sum() * 0.0
        return zero + 0.0 * loss if self.trainer.world_size > 1 else zero

    @torch.no_grad()
    def _weigh(self, parameters: Sequence[Tensor]) -> None:
        """Turn the gradient of a step into that of the mean loss over all its utterances.

        Each batch gave the gradient of a sum, and the trainer took the mean over batches.
        """
        num_kept = torch.tensor(float(self._num_kept), device=self.device)
        self._num_kept = 0
        if self._num_shares == 1:
            return
        if self.trainer.world_size > 1:
            num_kept = self.trainer.strategy.reduce(num_kept, reduce_op="sum")
        grads = [local(p.grad) for p in parameters if p.grad is not None]
        torch._foreach_mul_(grads, self._num_shares / num_kept.clamp_min(1.0))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to the configured norm, and leave the step out if anything is not finite."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._weigh(parameters)
        limit = float("inf") if self._gradient_clip is None else self._gradient_clip
        self.grad_norm = whole(torch.nn.utils.clip_grad_norm_(parameters, limit))
        self.lr = optimizer.param_groups[0]["lr"] / optimizer.param_groups[0].get(FACTOR, 1.0)
        assert self._guard is not None
        bad = self._guard.close_step(self.trainer.global_step + 1, self.grad_norm)
        if optimizer.defaults.get("fused"):
            # The fused kernel reads this and skips the step on the device itself.
            is_needed = bad.is_cuda or bool(bad)
            optimizer.found_inf = bad if is_needed else None  # type: ignore[attr-defined]
        elif bool(bad):
            optimizer.zero_grad(set_to_none=True)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        for means in self.running_means:
            means.pause()
        self._errors = WordErrors()
        self._dev_loss_sum = 0.0
        self._num_dev_losses = 0
        self._num_dev_tokens = 0.0
        self._num_written = 0
        self.examples = []

    def validation_step(self, item: DevItem, batch_idx: int) -> None:
        """Decode a batch and count its word errors; the same forward pass gives the loss."""
        self.batch = batch = item.batch
        outputs_BTX, lengths_B = self.model(batch.waveforms_BN, batch.waveform_lengths_B)
        if not item.counts:
            return
        hypotheses = self._decoder(outputs_BTX, lengths_B)
        results = [
            UtteranceResult(
                utterance_id=utterance_id,
                hyp=self._tokenizer.decode(hypothesis.token_ids),
                duration_s=0.0,
                ref=text,
            )
            for utterance_id, text, hypothesis in zip(
                batch.utterance_ids, batch.texts, hypotheses, strict=True
            )
        ]
        self._errors += corpus_wer(results)
        self._num_written += sum(bool(result.hyp) for result in results)
        missing = _NUM_EXAMPLES - len(self.examples)
        self.examples += [(str(result.ref), result.hyp) for result in results[:missing]]
        losses_B: Tensor = self.model.utterance_losses(  # type: ignore[operator]
            outputs_BTX, lengths_B, batch
        )
        is_kept_B = torch.isfinite(losses_B)
        kept_B = losses_B[is_kept_B]
        self._num_dev_tokens += float(batch.token_lengths_B[is_kept_B].sum())
        self._dev_loss_sum += float(kept_B.sum())
        self._num_dev_losses += len(kept_B)

    def on_validation_epoch_end(self) -> None:
        """Sum over all devices and store the results."""
        counts = torch.tensor(
            [
                self._errors.errors,
                self._errors.words,
                self._dev_loss_sum,
                self._num_dev_losses,
                self._num_dev_tokens,
                self._num_written,
            ],
            dtype=torch.float32 if self.device.type == "mps" else torch.float64,
            device=self.device,
        )
        if self.trainer.world_size > 1:
            counts = self.trainer.strategy.reduce(counts, reduce_op="sum")
        errors, words, loss_sum, num_losses, num_tokens, num_written = counts.tolist()
        wer = 100.0 * errors / words if words else float("nan")
        self.dev_metrics = {"dev_wer": wer}
        if num_losses:
            self.dev_metrics["dev_loss"] = loss_sum / num_losses
        if num_tokens:
            self.dev_metrics["dev_loss_per_token"] = loss_sum / num_tokens
        self.all_empty = bool(words) and not num_written
        self._state.last_wer = wer if words else None
        for means in self.running_means:
            means.resume()
