"""Knowledge distillation: training on a teacher model's output beside the transcripts.

Hinton, Vinyals and Dean 2015 (Distilling the knowledge in a neural network), frame by frame:

    loss = (1 - weight) * own loss + weight * t^2 * mean over frames of KL(teacher || student)

The own loss is the head's, such as CTC; both distributions are taken at temperature t. CTC leaves
the frames of tokens free, but a student converted from its teacher emits tokens at the same frames,
so frames are comparable.

Shape legend: B batch, T frames, F mel bins, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from asr.errors import InputError
from asr.head.base import HeadLoss
from asr.interop.hub import local_model
from asr.model.asr_model import AsrModel
from asr.model.package import ModelPackage, check_whole_outputs, load_package
from asr.nn.frames import padding_mask
from asr.ranges import Range, Share, in_ranges
from asr.text.tokenizer import Tokenizer
from asr.types import Batch


@in_ranges("train.distillation")
@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The teacher model, and its weight in the loss.

    Args:
        teacher: a model folder; None learns from the transcripts alone.
        weight: share of the teacher in the loss, 0 to 1.
        temperature: above 1, tokens that the teacher finds less likely count more.

    Raises:
        InputError: a value is outside its range; names the key ``train.distillation.*``.
    """

    teacher: str | None = None
    weight: Share = 0.5
    temperature: Annotated[float, Range(0, 1000, above=True)] = 1.0

    def load(
        self, student: AsrModel, tokenizer: Tokenizer, features: Mapping[str, Any]
    ) -> Distiller | None:
        """Load the teacher; None if there is none. ``features`` is the student's config.

        Raises:
            InputError: the folder holds no model, or tokenizer, frame rate or features differ.
        """
        if self.teacher is None:
            return None
        package = load_package(local_model(self.teacher))
        check_whole_outputs(package.config, package.folder, "train.distillation.teacher")
        check_teacher(package, student, tokenizer, features)
        return Distiller(package.model, weight=self.weight, temperature=self.temperature)


def check_teacher(
    teacher: ModelPackage, student: AsrModel, tokenizer: Tokenizer, features: Mapping[str, Any]
) -> None:
    """Raise InputError unless both models have the same tokens, frame rate and features."""
    where = f"train.distillation.teacher={teacher.folder}"
    for model in (teacher.model, student):
        model.head.check_serves("distillation")
    if teacher.tokenizer.to_bytes() != tokenizer.to_bytes():
        raise InputError(f"{where}: has another tokenizer than this run, which takes that of init=")
    theirs_s, ours_s = teacher.model.frame_shift_s, student.frame_shift_s
    if theirs_s != ours_s:
        raise InputError(
            f"{where}: a frame of it is {1000 * theirs_s:g} ms, one of this run "
            f"{1000 * ours_s:g} ms; they must be the same"
        )
    for name in ("fbank", "normalize"):
        theirs, ours = (
            given_features(one.get(name)) for one in (teacher.config["features"], features)
        )
        differing = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
        if differing:
            key = differing[0]
            raise InputError(
                f"{where}: was trained with features.{name}.{key}={theirs.get(key)}, this run has "
                f"{ours.get(key)}; both must be given the same features"
            )


def given_features(part: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a frontend part that must agree between both models."""
    return {key: value for key, value in (part or {}).items() if key != "dither"}


class Distiller:
    """A teacher in inference mode that takes no gradient.

    It is not a module, so its weights are in no checkpoint, optimiser or parameter count.
    """

    def __init__(self, teacher: AsrModel, *, weight: float, temperature: float) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.weight = weight
        self.temperature = temperature

    def loss(self, student: AsrModel, batch: Batch) -> HeadLoss:
        """Return the training loss of a batch; teacher and student get the same features."""
        features_BTF, lengths_B = student.training_features(batch)
        encoded = student.encode(features_BTF, lengths_B)
        student_BTV = student.head.frame_log_probs(encoded.frames_BTD)
        own = student.head.loss(
            encoded, batch.token_ids_BU, batch.token_lengths_B, log_probs_BTV=student_BTV
        )
        divergence = frame_divergence(
            self.log_probs(features_BTF, lengths_B),
            student_BTV,
            encoded.lengths_B,
            temperature=self.temperature,
        )
        loss = (1 - self.weight) * own.loss + self.weight * self.temperature**2 * divergence
        return HeadLoss(loss, own.num_left_out)

    @torch.no_grad()
    def log_probs(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the teacher's log probabilities of every frame, (B, T, V)."""
        if next(self.teacher.parameters()).device != features_BTF.device:
            self.teacher.to(features_BTF.device)
        encoded = self.teacher.encoder(features_BTF, lengths_B)
        return self.teacher.head.frame_log_probs(encoded.frames_BTD)


def frame_divergence(
    teacher_BTV: Tensor, student_BTV: Tensor, lengths_B: Tensor, *, temperature: float
) -> Tensor:
    """Return the mean divergence of student from teacher over valid frames, in nats.

    Both inputs are log probabilities; they are taken at ``temperature``.
    """
    target_BTV = (teacher_BTV / temperature).log_softmax(-1)
    given_BTV = (student_BTV / temperature).log_softmax(-1)
    divergence_BT = (target_BTV.exp() * (target_BTV - given_BTV)).sum(-1)
    hidden_BT = padding_mask(lengths_B, divergence_BT.shape[1])
    if hidden_BT is not None:
        divergence_BT = divergence_BT.masked_fill(hidden_BT, 0.0)
    return divergence_BT.sum() / lengths_B.sum()
