"""Our layers against those of torchaudio and torch, with the same weights."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from asr.encoder.conformer import ConformerLayer
from asr.encoder.transformer import TransformerLayer
from asr.nn.feedforward import FeedForward
from asr.nn.frames import Frames, padding_mask
from asr.reuse.none import AloneAttention
from tests.encoder.tiny import D_MODEL, NUM_HEADS, randomise, tiny_encoder
from tests.parity.test_attention import copy_attention

FFN_DIM, KERNEL_SIZE = 32, 5


def our_layer(kind: str) -> nn.Module:
    encoder = tiny_encoder("conformer" if kind == "conformer" else "transformer", positions="none")
    return encoder.layers[0]


def copy_feedforward(ours: FeedForward, theirs: nn.Sequential) -> None:
    for index, module in ((0, ours.norm), (1, ours.expand), (4, ours.project)):
        theirs[index].load_state_dict(module.state_dict())


@pytest.mark.parametrize("num_frames", [1, 4, 23])
def test_conformer_layer_of_torchaudio(num_frames: int) -> None:
    """Without padding; with it theirs leaks through the convolution and cannot be a reference."""
    with warnings.catch_warnings(action="ignore"):
        from torchaudio.models import conformer
    ours = our_layer("conformer")
    assert isinstance(ours, ConformerLayer)
    assert isinstance(ours.attention, AloneAttention)
    theirs = conformer.ConformerLayer(D_MODEL, FFN_DIM, NUM_HEADS, KERNEL_SIZE).eval()
    copy_feedforward(ours.feedforward_in, theirs.ffn1.sequential)
    copy_feedforward(ours.feedforward_out, theirs.ffn2.sequential)
    copy_attention(ours.attention, theirs.self_attn)
    theirs.self_attn_layer_norm.load_state_dict(ours.attention_norm.state_dict())
    theirs.final_layer_norm.load_state_dict(ours.norm.state_dict())
    theirs.conv_module.layer_norm.load_state_dict(ours.convolution.norm.state_dict())
    expand, _, depthwise, batch_norm, _, project, _ = theirs.conv_module.sequential
    with torch.no_grad():
        expand.weight.copy_(ours.convolution.expand.weight.unsqueeze(-1))
        expand.bias.copy_(ours.convolution.expand.bias)
        depthwise.weight.copy_(ours.convolution.depthwise.weight)
        depthwise.bias.zero_()
        project.weight.copy_(ours.convolution.project.weight.unsqueeze(-1))
        project.bias.copy_(ours.convolution.project.bias)
    batch_norm.load_state_dict(ours.convolution.batch_norm.state_dict())
    x_BTD = torch.randn(2, num_frames, D_MODEL)

    expected_TBD = theirs(x_BTD.transpose(0, 1), None)
    found_BTD, carry = ours(x_BTD, Frames(), None)

    assert carry is None
    torch.testing.assert_close(found_BTD, expected_TBD.transpose(0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [[9, 9], [9, 3]], ids=str)
def test_transformer_layer_of_torch(lengths: list[int]) -> None:
    ours = our_layer("transformer")
    assert isinstance(ours, TransformerLayer)
    assert isinstance(ours.attention, AloneAttention)
    theirs = nn.TransformerEncoderLayer(
        D_MODEL, NUM_HEADS, FFN_DIM, activation=functional.silu, batch_first=True, norm_first=True
    ).eval()
    copy_attention(ours.attention, theirs.self_attn)
    theirs.norm1.load_state_dict(ours.attention_norm.state_dict())
    theirs.norm2.load_state_dict(ours.feedforward.norm.state_dict())
    theirs.linear1.load_state_dict(ours.feedforward.expand.state_dict())
    theirs.linear2.load_state_dict(ours.feedforward.project.state_dict())
    x_BTD = torch.randn(2, 9, D_MODEL)
    mask = padding_mask(torch.tensor(lengths), 9)

    expected_BTD = theirs(x_BTD, src_key_padding_mask=mask)
    found_BTD, _ = ours(x_BTD, Frames(mask), None)

    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            found_BTD[row, :length], expected_BTD[row, :length], atol=1e-5, rtol=1e-5
        )


def test_both_libraries_are_given_weights_that_matter() -> None:
    """Zeros and ones would let two different formulas agree."""
    layer = our_layer("conformer")
    fresh = nn.Linear(2, 2)
    randomise(fresh)

    for name, parameter in layer.named_parameters():
        assert parameter.std() > 0.05, name
    assert fresh.bias.abs().min() > 0
