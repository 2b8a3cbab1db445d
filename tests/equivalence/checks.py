"""Properties that every encoder has, for tests of each kind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from asr.encoder.stack import Encoder
from tests.encoder.tiny import random_features


def assert_padded_equals_alone(encoder: Encoder, lengths: list[int]) -> None:
    """The last layer and one below it give an utterance the same frames in a batch as alone."""
    features_BTF, lengths_B = random_features(lengths)

    with torch.no_grad():
        batch = encoder(features_BTF, lengths_B, intermediate_layers=(1,))
        for row, length in enumerate(lengths):
            alone = encoder(features_BTF[row : row + 1, :length], torch.tensor([length]), (1,))
            (num_frames,) = alone.lengths_B.tolist()
            assert batch.lengths_B[row] == num_frames == alone.frames_BTD.shape[1]
            for found_BTD, expected_BTD in (
                (batch.frames_BTD, alone.frames_BTD),
                (batch.intermediate[0].frames_BTD, alone.intermediate[0].frames_BTD),
            ):
                torch.testing.assert_close(
                    found_BTD[row, :num_frames], expected_BTD[0], atol=1e-5, rtol=1e-5
                )


def assert_exported_branches_compute_the_same(
    encoder: Encoder, batches: Sequence[tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of an exported graph gives the same frames as the usual one."""
    with torch.no_grad():
        expected = [encoder(*batch) for batch in batches]
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        found = [encoder(*batch) for batch in batches]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.lengths_B, other.lengths_B)
        for row, length in enumerate(one.lengths_B.tolist()):
            torch.testing.assert_close(
                one.frames_BTD[row, :length], other.frames_BTD[row, :length], rtol=1e-5, atol=2e-5
            )
