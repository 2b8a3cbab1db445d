"""Training computes what inference computes, where dropout and batch statistics are set aside."""

from __future__ import annotations

import torch

from asr.nn.positions import PositionKind
from asr.nn.valid_batch_norm import ValidBatchNorm
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind, random_features
from tests.equivalence.cases import CASES, Case, each_case
from tests.pairwise import pairwise


@pairwise(case=CASES, positions=POSITIONS, kind=KINDS)
def test_training_mode_equals_inference(
    kind: EncoderKind, positions: PositionKind, case: Case
) -> None:
    encoder = case.encoder(kind, positions=positions, dropout=0.0)
    features_BTF, lengths_B = random_features([30, 3, 13])
    with torch.no_grad():
        inference = encoder(features_BTF, lengths_B)

    encoder.train()
    for module in encoder.modules():
        if isinstance(module, ValidBatchNorm):
            module.eval()
    training = encoder(features_BTF, lengths_B)

    assert training.frames_BTD.requires_grad
    for row, length in enumerate(inference.lengths_B):
        torch.testing.assert_close(
            training.frames_BTD[row, :length],
            inference.frames_BTD[row, :length],
            atol=1e-5,
            rtol=1e-5,
        )


@each_case
def test_inference_is_repeatable_and_changes_nothing(case: Case) -> None:
    encoder = case.encoder(dropout=0.5)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    features_BTF, lengths_B = random_features([30, 13])

    with torch.no_grad():
        once, again = encoder(features_BTF, lengths_B), encoder(features_BTF, lengths_B)

    assert torch.equal(once.frames_BTD, again.frames_BTD)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
