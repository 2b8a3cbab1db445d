import pytest
import torch

from asr.features.normalize import UtteranceNorm

FEATURES_BTF = 3 * torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(0)) - 7
LENGTHS_B = torch.tensor([50, 31, 1])
both = pytest.mark.parametrize("variance", [False, True])


@both
def test_equals_a_naive_loop(variance: bool) -> None:
    normalised_BTF = UtteranceNorm(variance=variance)(FEATURES_BTF, LENGTHS_B)
    for row, length, result in zip(FEATURES_BTF, LENGTHS_B.tolist(), normalised_BTF, strict=True):
        valid = row[:length].double()
        expected = valid - valid.mean(dim=0)
        if variance:
            expected = expected / (valid.var(dim=0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(result[:length], expected.float(), atol=1e-5, rtol=1e-5)
        assert not result[length:].any()


@both
def test_padding_changes_nothing_whatever_it_holds(variance: bool) -> None:
    norm = UtteranceNorm(variance=variance)
    for filler in (0.0, 1e6, float("nan")):
        batch_BTF = torch.full((3, 90, 8), filler)
        for row, features, length in zip(batch_BTF, FEATURES_BTF, LENGTHS_B, strict=True):
            row[:length] = features[:length]
        normalised_BTF = norm(batch_BTF, LENGTHS_B)
        for row, features, length in zip(normalised_BTF, FEATURES_BTF, LENGTHS_B, strict=True):
            alone_BTF = norm(features[None, :length], length[None])
            torch.testing.assert_close(row[:length], alone_BTF[0], atol=1e-5, rtol=1e-5)
            assert not row[length:].any()


@both
def test_level_of_the_recording_vanishes(variance: bool) -> None:
    norm = UtteranceNorm(variance=variance)
    shifted_BTF = FEATURES_BTF + 5.0
    torch.testing.assert_close(
        norm(shifted_BTF, LENGTHS_B), norm(FEATURES_BTF, LENGTHS_B), atol=1e-4, rtol=0
    )


@both
def test_digital_silence_is_zero(variance: bool) -> None:
    silence_BTF = torch.full((2, 40, 8), -23.0)
    normalised_BTF = UtteranceNorm(variance=variance)(silence_BTF, torch.tensor([40, 17]))
    assert normalised_BTF.abs().max() < 1e-2
