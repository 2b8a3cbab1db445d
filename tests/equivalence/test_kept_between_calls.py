"""What is kept between calls changes no result, and training forgets it."""

from __future__ import annotations

import torch

from asr.nn.positions import PositionKind
from asr.nn.relative import RelativePositions
from tests.encoder.tiny import POSITIONS, random_features, tiny_encoder
from tests.equivalence.cases import CASES, Case
from tests.pairwise import pairwise


@pairwise(case=CASES, positions=POSITIONS)
def test_calls_of_any_length(case: Case, positions: PositionKind) -> None:
    plain, keeping = case.encoder(positions=positions), case.encoder(positions=positions)
    keeping.load_state_dict(plain.state_dict())
    keeping.keep_between_calls()
    for lengths in ([30, 13], [61], [4], [40, 61]):
        features_BTF, lengths_B = random_features(lengths)
        with torch.inference_mode():
            expected, found = (one(features_BTF, lengths_B) for one in (plain, keeping))
        for row, length in enumerate(expected.lengths_B):
            torch.testing.assert_close(
                found.frames_BTD[row, :length],
                expected.frames_BTD[row, :length],
                atol=1e-5,
                rtol=1e-5,
            )


def test_training_forgets() -> None:
    encoder = tiny_encoder(positions="relative")
    features_BTF, lengths_B = random_features([30])
    encoder.keep_between_calls()
    with torch.inference_mode():
        before = encoder(features_BTF, lengths_B).frames_BTD
    encoder.train()
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, RelativePositions):
                module.position.weight.add_(0.5)
    encoder.eval()
    fresh = tiny_encoder(positions="relative")
    fresh.load_state_dict(encoder.state_dict())
    with torch.inference_mode():
        after, expected = (one(features_BTF, lengths_B).frames_BTD for one in (encoder, fresh))
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, expected)
