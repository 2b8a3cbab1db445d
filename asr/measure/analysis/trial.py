"""Direct tests of schedules: the loss of a trained model after conversion to each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from asr.encoder.maps import Replay
from asr.measure.calibration import CalibrationBatches, LossSum
from asr.model.asr_model import AsrModel
from asr.model.build import build
from asr.model.convert import full_attention, reordered
from asr.reuse.base import LayerAttention
from asr.reuse.grouping import Grouping
from asr.reuse.head_order import aligned_orders
from asr.reuse.schedule import Role

WAYS = tuple(field.name for field in fields(Grouping))
PROBS = {"_target_": "asr.reuse.probs.ReuseProbs"}


def is_grouped(reuse: Mapping[str, Any]) -> bool:
    """Return whether a config of the group ``reuse`` has the keys of `Grouping`."""
    return reuse.keys() >= set(WAYS)


def with_groups(reuse: Mapping[str, Any], groups: Sequence[int]) -> dict[str, Any]:
    """Return the method's config with consecutive groups of these sizes."""
    return {**reuse, **dict.fromkeys(WAYS), "groups": list(groups)}


def with_leaders(reuse: Mapping[str, Any], leaders: Sequence[int]) -> dict[str, Any]:
    """Return the method's config with a leader for every layer, possibly the layer itself."""
    return {**reuse, **dict.fromkeys(WAYS), "leaders": list(leaders)}


class Trial:
    """Converts ``model`` temporarily and measures the mean loss per utterance, in nats.

    ``reuse`` is the config of the method to try; its grouping is ignored. Heads are aligned by
    ``similarity_LHLH``. ``pass_s`` is the duration of one pass of the whole model over
    ``calibration``, ``full_loss`` the loss of the unconverted model.

    Raises:
        InputError: the model has no full attention, or no utterance can be aligned.
    """

    def __init__(
        self,
        model: AsrModel,
        calibration: CalibrationBatches,
        reuse: Mapping[str, Any],
        similarity_LHLH: Tensor,
    ) -> None:
        self._model = model
        self._calibration = calibration
        self.reuse = reuse
        self._similarity_LHLH = similarity_LHLH
        self._own = full_attention(model.encoder)
        start_s = time.perf_counter()
        losses = LossSum(model.head)
        for batch in calibration.batches:
            replay = Replay(model.encoder, batch.features_BTF, batch.lengths_B)
            losses.add(self._outputs(replay.frames_BTD), replay.lengths_B, batch)
        self.full_loss = losses.mean()
        self.pass_s = time.perf_counter() - start_s

    @property
    def method(self) -> str:
        """Name of the method that is tried."""
        name: str = build(with_groups(self.reuse, [self.num_layers]), "reuse").name
        return name

    @property
    def num_utterances(self) -> int:
        """The number of utterances over which losses are averaged."""
        return self._calibration.num_utterances

    @property
    def num_layers(self) -> int:
        """L, the number of layers."""
        return len(self._own)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair of a leader and a follower above it."""
        return [(leader, m) for m in range(self.num_layers) for leader in range(m)]

    def pairs_s(self) -> float:
        """Estimate the seconds of `losses_of_pairs`; a pair runs the layers from its leader on."""
        num_run = sum(self.num_layers - leader for leader, _ in self.pairs)
        return self.pass_s * (1 + num_run / self.num_layers)

    def losses_of_pairs(self, report: Callable[[str], None] = lambda _: None) -> Tensor:
        """Return (L, L): the loss if only layer m (column) follows layer l (row); NaN elsewhere."""
        schedules = [
            [leader if layer == follower else layer for layer in range(self.num_layers)]
            for leader, follower in self.pairs
        ]
        found = self._losses(
            [with_leaders(self.reuse, leaders) for leaders in schedules],
            lambda num_done: report(
                f"tried {len(self.pairs)} pairs on {num_done} of {self.num_utterances} utterances"
            ),
        )
        loss_LL = torch.full((self.num_layers, self.num_layers), torch.nan, dtype=torch.float64)
        for (leader, follower), loss in zip(self.pairs, found, strict=True):
            loss_LL[leader, follower] = loss
        return loss_LL

    def losses_of_groups(self, schedules: Sequence[Sequence[int]]) -> list[float]:
        """Return the loss of each schedule, given by the sizes of its groups."""
        return self._losses([with_groups(self.reuse, groups) for groups in schedules])

    def _losses(
        self,
        configs: Sequence[Mapping[str, Any]],
        report: Callable[[int], None] = lambda _: None,
    ) -> list[float]:
        """Return the losses; the inputs of layers are stored for one batch at a time."""
        sums = [LossSum(self._model.head) for _ in configs]
        num_done = 0
        for batch in self._calibration.batches:
            replay = Replay(self._model.encoder, batch.features_BTF, batch.lengths_B)
            for config, losses in zip(configs, sums, strict=True):
                converted = self._attention(config)
                frames_BTD = replay.with_attention(converted) if converted else replay.frames_BTD
                losses.add(self._outputs(frames_BTD), replay.lengths_B, batch)
            num_done += len(batch.utterance_ids)
            report(num_done)
        return [losses.mean() for losses in sums]

    def _attention(self, config: Mapping[str, Any]) -> dict[int, LayerAttention]:
        """Return the attention of leading and following layers, with the full model's weights."""
        encoder = self._model.encoder
        reuse = build(config, "reuse")
        schedule = reuse.schedule(self.num_layers)
        own = reordered(self._own, aligned_orders(reuse, self._similarity_LHLH, encoder.num_heads))
        attention: dict[int, LayerAttention] = {}
        for role in schedule:
            if role.role is not Role.ALONE:
                one: LayerAttention = reuse.attention(role, encoder.parts)
                followers = [own[r.layer] for r in schedule if r.leader == role.layer]
                one.inherit(own[role.layer], followers)
                device = next(self._model.parameters()).device
                attention[role.layer] = one.to(device).eval()
        return attention

    @torch.inference_mode()
    def _outputs(self, frames_BTD: Tensor) -> Tensor:
        outputs_BTX: Tensor = self._model.head(frames_BTD)
        return outputs_BTX
