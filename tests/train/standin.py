"""A recogniser, a loader and a decoder small enough to train in a test."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.train.averaging import AveragingSpec
from asr.train.fit import FitResult, FitSettings, fit
from asr.train.optim import AdamWSpec
from asr.train.trainer import TrainerSpec
from asr.types import Batch, Hypothesis

SAMPLE_RATE_HZ = 1600
HOP = 16
VOCAB = 6  # blank and a to e


class Loss(NamedTuple):
    loss: Tensor
    num_left_out: int


class TinyModel(nn.Module):
    """Frames of HOP samples, batch normalisation, dropout, CTC."""

    def __init__(self, dim: int = 24, dropout: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.enter = nn.Linear(HOP, dim)
        self.norm = nn.BatchNorm1d(dim)
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Linear(dim, VOCAB)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.after_loss: Callable[[Batch, Tensor], Tensor] = lambda batch, loss: loss

    def forward(self, waveforms_BN: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        frames_BTH = waveforms_BN.unfold(1, HOP, HOP)
        self.scratch = torch.zeros(frames_BTH.shape[1])  # a buffer that changes its shape
        hidden_BTD = self.norm(self.enter(frames_BTH).transpose(1, 2)).transpose(1, 2)
        logits_BTV = self.leave(self.dropout(hidden_BTD.relu()))
        return logits_BTV.float().log_softmax(-1), lengths_B // HOP

    def utterance_losses(self, outputs_BTX: Tensor, lengths_B: Tensor, batch: Batch) -> Tensor:
        losses_B: Tensor = functional.ctc_loss(
            outputs_BTX.transpose(0, 1),
            batch.token_ids_BU,
            lengths_B,
            batch.token_lengths_B,
            reduction="none",
        )
        return losses_B

    def loss(self, batch: Batch) -> Loss:
        log_probs_BTV, lengths_B = self(batch.waveforms_BN, batch.waveform_lengths_B)
        losses_B = self.utterance_losses(log_probs_BTV, lengths_B, batch)
        fits_B = lengths_B >= 2 * batch.token_lengths_B - 1
        num_left_out = int((~fits_B).sum())
        if num_left_out == len(batch):
            return Loss(torch.tensor(torch.nan), num_left_out)  # the worst a model may do
        return Loss(self.after_loss(batch, losses_B[fits_B].mean()), num_left_out)


class Letters:
    """Ids 1 to 5 are the words a to e."""

    def decode(self, token_ids: Sequence[int], /) -> str:
        return " ".join("-abcde"[token] for token in token_ids)


def decode_greedily(log_probs_BTV: Tensor, lengths_B: Tensor, /) -> list[Hypothesis]:
    hypotheses = []
    for log_probs_TV, length in zip(log_probs_BTV, lengths_B.tolist(), strict=True):
        path = log_probs_TV[:length].argmax(-1).unique_consecutive()
        token_ids = tuple(path[path > 0].tolist())
        frames = tuple(range(len(token_ids)))
        hypotheses.append(Hypothesis(token_ids, frames, tuple(frame + 1 for frame in frames), 0.0))
    return hypotheses


def make_batch(seed: int, num_utterances: int = 4, num_tokens: int = 3) -> Batch:
    """Each token is four frames of its own tone, between frames of silence."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BU = torch.randint(1, VOCAB, (num_utterances, num_tokens), generator=generator)
    time_s = torch.arange(4 * HOP) / HOP
    silence = torch.zeros(2 * HOP)
    waveforms = []
    for tokens in tokens_BU.tolist():
        parts = [silence]
        for token in tokens:
            parts += [torch.sin(2 * torch.pi * token * time_s), silence]
        waveforms.append(torch.cat(parts))
    waveforms_BN = torch.stack(waveforms)
    waveforms_BN = waveforms_BN + 0.02 * torch.randn(waveforms_BN.shape, generator=generator)
    return Batch(
        utterance_ids=tuple(f"utt-{seed}-{i}" for i in range(num_utterances)),
        texts=tuple(Letters().decode(tokens) for tokens in tokens_BU.tolist()),
        waveforms_BN=waveforms_BN,
        waveform_lengths_B=torch.full((num_utterances,), waveforms_BN.shape[1]),
        token_ids_BU=tokens_BU,
        token_lengths_B=torch.full((num_utterances,), num_tokens),
    )


class TinyLoader:
    """``num_batches`` batches an epoch, other ones in every epoch; resumable."""

    def __init__(self, num_batches: int = 5, make: Callable[[int], Batch] = make_batch) -> None:
        self.size = num_batches
        self.make = make
        self.epoch = 0
        self.batch = 0
        self.seeds: list[int] = []

    def __iter__(self) -> Iterator[Batch | None]:
        torch.rand(())  # a loader may draw random numbers when it is opened
        while self.batch < self.num_batches(self.epoch, 1):
            seed = 100 * self.epoch + self.batch
            self.batch += 1
            self.seeds.append(seed)
            yield self.make(seed)

    def num_batches(self, epoch: int, num_processes: int) -> int:
        return self.size // num_processes

    def batch_at(self, position: Mapping[str, Any], num_processes: int) -> int:
        return int(position["batch"])

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.batch = epoch, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "batch": self.batch}

    @property
    def unreadable(self) -> list[str]:
        return []

    @property
    def bad_sounds(self) -> list[str]:
        return []

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.batch = state["epoch"], state["batch"]


def run_fit(
    run_dir: Path,
    *,
    model: TinyModel | None = None,
    loader: TinyLoader | None = None,
    has_dev: bool = True,
    resume: bool = False,
    averaging: AveragingSpec | None = None,
    optim: AdamWSpec | None = None,
    seed: int = 1,
    largest_batch: Batch | None = None,
    **trainer: Any,
) -> FitResult:
    """``fit`` of a stand-in, one log row per step."""
    settings: dict[str, Any] = {"accelerator": "cpu", "log_every_steps": 1, "print_every_s": 1000.0}
    fit_settings = FitSettings(
        tokenizer=Letters(),
        train_loader=loader if loader is not None else TinyLoader(),
        dev_loader=[make_batch(9000), make_batch(9001)] if has_dev else None,
        optim=optim or AdamWSpec(peak_lr=0.01, warmup_steps=3, decay="constant"),
        trainer=TrainerSpec(**{**settings, **trainer}),
        averaging=averaging or AveragingSpec(kind="none"),
        seed=seed,
        decoder=decode_greedily,
        largest_batch=largest_batch,
    )
    return fit(
        model if model is not None else TinyModel(), fit_settings, run_dir=run_dir, resume=resume
    )


def logged(run_dir: Path, column: str) -> dict[int, float]:
    """``column`` of the CSV log by step, where it is not empty."""
    with (run_dir / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return {int(row["step"]): float(row[column]) for row in csv.DictReader(file) if row[column]}
