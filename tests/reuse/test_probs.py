from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.encoder.maps import encode_with_maps
from asr.encoder.stack import Encoder
from asr.errors import InputError
from asr.nn.frames import Frames
from asr.nn.positions import PositionKind
from asr.reuse.probs import MAP_DTYPES, FollowProbs, LeadProbs, ReuseProbs
from tests.encoder.tiny import D_MODEL, POSITIONS, random_features, tiny_encoder

T = 6
LENGTHS = [61, 3, 40]
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # of a number near one

each_dtype = pytest.mark.parametrize("map_dtype", MAP_DTYPES)
each_position = pytest.mark.parametrize("positions", POSITIONS)


def encoder_with(map_dtype: str | None, positions: PositionKind = "relative") -> Encoder:
    return tiny_encoder(reuse=ReuseProbs(group_size=4, map_dtype=map_dtype), positions=positions)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return (found - expected).square().mean().sqrt().item() / expected.std().item()


@pytest.mark.parametrize("map_dtype", ["float32", "half", "torch.bfloat16", "", "BFLOAT16"])
def test_another_precision(map_dtype: str) -> None:
    message = f"reuse.map_dtype={map_dtype}: allowed: null, bfloat16, float16"

    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        ReuseProbs(group_size=2, map_dtype=map_dtype)


@each_dtype
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_what_travels_is_the_map_rounded(map_dtype: str, mode: Any) -> None:
    """The leader itself uses the map as it is; outputs keep the precision of the input."""
    encoder = encoder_with(map_dtype, "none")
    leader, follower = (encoder.layers[i].get_submodule("attention") for i in (0, 1))
    assert isinstance(leader, LeadProbs)
    assert isinstance(follower, FollowProbs)
    x_BTD = torch.randn(2, T, D_MODEL)

    with mode():
        led_BTD, carry = leader(x_BTD, Frames(), None)
        followed_BTD, handed_on = follower(x_BTD, Frames(), carry)
        probs_BHTT = leader.scores(x_BTD, Frames())
        shown_BHTT = follower.attention_map(x_BTD, Frames(), carry)
        assert torch.equal(led_BTD, leader.mix(x_BTD, probs_BHTT))
        assert shown_BHTT is not None
        mixed_BTD = follower.mix(x_BTD, shown_BHTT)

    assert handed_on is carry
    assert carry.probs_BHTT.whole().dtype == MAP_DTYPES[map_dtype]
    assert torch.equal(carry.probs_BHTT.whole(), probs_BHTT.to(MAP_DTYPES[map_dtype]))
    assert shown_BHTT.dtype == led_BTD.dtype == followed_BTD.dtype == torch.float32
    assert 0 < relative_error(followed_BTD, mixed_BTD) < 2 * ROUNDING[map_dtype]


@each_dtype
@each_position
def test_close_to_full_precision(map_dtype: str, positions: PositionKind) -> None:
    """As far as the rounding of maps, values and contexts goes; in inference and in training."""
    exact, rounded = encoder_with(None, positions), encoder_with(map_dtype, positions)
    features_BTF, lengths_B = random_features(LENGTHS)
    gradients = []
    outputs = []
    for encoder in (exact, rounded):
        output = encoder(features_BTF, lengths_B)
        valid = [
            frames_TD[:length]
            for frames_TD, length in zip(output.frames_BTD, output.lengths_B, strict=True)
        ]
        outputs.append(torch.cat(valid))
        loss = outputs[-1].square().sum()
        gradients.append(torch.autograd.grad(loss, list(encoder.parameters())))

    assert outputs[1].dtype == torch.float32
    assert 0 < relative_error(outputs[1], outputs[0]) < 4 * ROUNDING[map_dtype]
    names = [name for name, _ in exact.named_parameters()]
    for name, found, expected in zip(names, gradients[1], gradients[0], strict=True):
        assert found.isfinite().all(), name
        if not name.endswith("key.bias"):  # zero but for rounding
            error = (found - expected).norm() / expected.norm()
            assert error < 20 * ROUNDING[map_dtype], name


@each_dtype
def test_padded_equals_alone_up_to_rounding(map_dtype: str) -> None:
    encoder = encoder_with(map_dtype)
    features_BTF, lengths_B = random_features(LENGTHS)

    with torch.no_grad():
        batch = encoder(features_BTF, lengths_B)
        for row, length in enumerate(LENGTHS):
            alone = encoder(features_BTF[row : row + 1, :length], lengths_B[row : row + 1])
            num_frames = int(alone.lengths_B)
            error = relative_error(batch.frames_BTD[row, :num_frames], alone.frames_BTD[0])
            assert error < ROUNDING[map_dtype]


@each_dtype
@pytest.mark.parametrize("grad", [True, False])
def test_under_autocast(map_dtype: str, grad: bool) -> None:
    features_BTF, lengths_B = random_features(LENGTHS)
    encoder = encoder_with(map_dtype)
    with torch.no_grad():
        exact = encoder_with(None)(features_BTF, lengths_B).frames_BTD

    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
        output = encoder(features_BTF, lengths_B)

    assert output.frames_BTD.dtype == torch.float32
    for row, length in enumerate(output.lengths_B):
        difference = output.frames_BTD[row, :length] - exact[row, :length]
        assert difference.square().mean().sqrt() < 0.1 * exact.std()


@each_dtype
def test_maps_for_analysis_come_in_full_precision(map_dtype: str) -> None:
    leader, *followers = encode_with_maps(encoder_with(map_dtype), *random_features(LENGTHS)).maps

    assert leader is not None
    for probs_BHTT in followers:
        assert probs_BHTT is not None
        assert probs_BHTT.dtype == torch.float32
        torch.testing.assert_close(probs_BHTT, leader, atol=1e-6, rtol=ROUNDING[map_dtype])


@pytest.mark.gpu
@each_dtype
@each_position
@pytest.mark.parametrize("autocast", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grad", [True, False])
def test_on_cuda(
    map_dtype: str, positions: PositionKind, autocast: torch.dtype, grad: bool
) -> None:
    features_BTF, lengths_B = random_features([516, 172])
    with torch.no_grad():
        exact = encoder_with(None, positions)(features_BTF, lengths_B).frames_BTD
    encoder = encoder_with(map_dtype, positions).cuda()

    with (
        torch.set_grad_enabled(grad),
        torch.autocast("cuda", autocast, enabled=autocast != torch.float32),
    ):
        output = encoder(features_BTF.cuda(), lengths_B.cuda())

    tolerance = 4 * ROUNDING[map_dtype] if autocast == torch.float32 else 0.1
    for row, length in enumerate(output.lengths_B.tolist()):
        difference = output.frames_BTD[row, :length].float().cpu() - exact[row, :length]
        assert difference.square().mean().sqrt() < tolerance * exact.std()
