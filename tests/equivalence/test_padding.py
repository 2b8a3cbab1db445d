"""An utterance comes out the same alone and in a padded batch."""

from __future__ import annotations

import torch

from asr.nn.positions import PositionKind
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind, random_features
from tests.equivalence.cases import CASES, Case, each_case
from tests.equivalence.checks import assert_padded_equals_alone
from tests.pairwise import pairwise

LENGTHS = [61, 1, 33, 8, 60]


@pairwise(case=CASES, positions=POSITIONS, kind=KINDS)
def test_padded_equals_alone(kind: EncoderKind, positions: PositionKind, case: Case) -> None:
    assert_padded_equals_alone(
        case.encoder(kind, positions=positions, subsampling="conv4"), LENGTHS
    )


@pairwise(case=CASES, kind=KINDS)
def test_padded_equals_alone_at_factor_8(kind: EncoderKind, case: Case) -> None:
    assert_padded_equals_alone(
        case.encoder(kind, positions="relative", subsampling="separable8"), LENGTHS
    )


@each_case
def test_what_lies_in_the_padding_changes_nothing(case: Case) -> None:
    encoder = case.encoder()
    features_BTF, lengths_B = random_features([30, 13])
    other_BTF = features_BTF.clone()
    other_BTF[1, 13:] = float("nan")

    with torch.no_grad():
        once, again = encoder(features_BTF, lengths_B), encoder(other_BTF, lengths_B)

    for row, length in enumerate(once.lengths_B):
        assert torch.equal(once.frames_BTD[row, :length], again.frames_BTD[row, :length])


@each_case
def test_training_statistics_do_not_depend_on_padding(case: Case) -> None:
    """The same two utterances padded by the batch, and padded much further."""
    features_BTF, lengths_B = random_features([30, 13])
    wider_BTF = torch.cat([features_BTF, torch.randn(2, 50, features_BTF.shape[2])], 1)
    states = []
    for batch_BTF in (features_BTF, wider_BTF):
        encoder = case.encoder().train()
        encoder(batch_BTF, lengths_B)
        states.append(encoder.state_dict())

    for name in states[0]:
        if "running" in name:
            torch.testing.assert_close(states[0][name], states[1][name], atol=1e-5, rtol=1e-5)
