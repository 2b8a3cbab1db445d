"""Training steps of several schedules, timed in alternation.

A step is the encoder and a CTC head on random features: forward, backward and the update of AdamW.
It contains no data loading, feature extraction or augmentation. Every schedule is timed in
alternation with its baselines, as in `asr.measure.latency`.

Shape legend: B batch, T frames, F mel bins, U tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from asr.encoder.stack import Encoder
from asr.head.ctc import CtcHead
from asr.measure.alternation import measure_points
from asr.measure.encoders import distinct_encoders, frame_shift_ms, random_features
from asr.measure.peers.peer import Config, Peer, peer_encoders
from asr.profiling.training_step import TrainingStepSpec, training_step
from asr.report.points import TrainingStepPoint

VOCAB_SIZE = 500  # as common for subword vocabularies
TOKENS_PER_S = 3.0  # such subwords in read English


def measure_training_steps(
    configs: Mapping[str, Config],
    spec: TrainingStepSpec,
    *,
    against: Sequence[str] = (),
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[TrainingStepPoint, ...]]:
    """Time training steps of run configs (groups ``features``, ``encoder``, ``reuse``) together.

    ``against`` names encoders of other libraries, see `asr.measure.latency.measure_encoders`.
    ``report`` receives a line per point.
    """
    encoders = distinct_encoders(configs, device)
    peers = peer_encoders(configs, against, device, "float32")
    beside = f" and {len(peers)} of other libraries" if peers else ""
    models = {
        key: (EncoderWithCtc(encoder).to(device), config)
        for key, (encoder, config) in (encoders | peers).items()
    }
    points: dict[str, list[TrainingStepPoint]] = {name: [] for name in configs}
    for length_s in spec.lengths_s:
        batch_size = spec.batch_size(length_s)
        report(
            f"timing training steps of {len(encoders)} encoders{beside} "
            f"at {batch_size} x {length_s:g} s, {spec.dtype}"
        )
        steps = {
            key: training_step(
                model,
                model.batch_loss(length_s, batch_size, frame_shift_ms(config)),
                dtype=spec.dtype,
                device=device,
            )
            for key, (model, config) in models.items()
        }
        found, _ = measure_points(
            TrainingStepPoint,
            configs,
            steps,
            spec,
            length_s=length_s,
            batch_size=batch_size,
            device=device,
            num_threads=spec.num_threads,
            against=against,
        )
        for name, point in found.items():
            points[name].append(replace(point, dtype=spec.dtype))
    return {name: tuple(of_run) for name, of_run in points.items()}


class EncoderWithCtc(nn.Module):
    """An encoder, ours or another library's, with a CTC head over `VOCAB_SIZE` tokens."""

    def __init__(self, encoder: Encoder | Peer) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = CtcHead(d_model=encoder.d_model, vocab_size=VOCAB_SIZE)

    def batch_loss(self, length_s: float, batch_size: int, shift_ms: float) -> Callable[[], Tensor]:
        """Return the loss function of a random batch without padding, equal on every call."""
        device = next(self.parameters()).device
        features_BTF, lengths_B = random_features(
            self.encoder.num_mel_bins, length_s, batch_size, shift_ms, device
        )
        num_tokens = max(1, round(TOKENS_PER_S * length_s))
        generator = torch.Generator().manual_seed(0)
        token_ids_BU = torch.randint(
            1, VOCAB_SIZE, (batch_size, num_tokens), generator=generator
        ).to(device)
        token_lengths_B = torch.full((batch_size,), num_tokens, device=device)

        def loss() -> Tensor:
            encoded = self.encoder(features_BTF, lengths_B)
            return self.head.loss(encoded, token_ids_BU, token_lengths_B).loss

        return loss
