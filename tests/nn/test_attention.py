from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.nn.attention import (
    AttentionScores,
    OutputOnly,
    ValueMix,
    softmax_over_keys,
    split_heads,
)
from asr.nn.frames import Frames, padding_mask
from asr.nn.positions import Positions
from tests.encoder.tiny import randomise

B, T, H, K = 2, 5, 2, 4
D = H * K
LENGTHS = torch.tensor([5, 3])


def make_scores() -> AttentionScores:
    module = AttentionScores(d_model=D, num_heads=H, head_dim=K, positions=Positions())
    randomise(module)
    return module


def make_mix(dropout: float = 0.0) -> ValueMix:
    module = ValueMix(d_model=D, num_heads=H, head_dim=K, dropout=dropout)
    randomise(module)
    return module.eval()


def random_map() -> Tensor:
    return torch.randn(B, H, T, T).softmax(-1)


def test_split_heads_gives_each_head_consecutive_channels() -> None:
    x_BTD = torch.randn(B, T, D)

    x_BHTK = split_heads(x_BTD, H)

    assert x_BHTK.shape == (B, H, T, K)
    for head in range(H):
        assert torch.equal(x_BHTK[:, head], x_BTD[..., head * K : (head + 1) * K])
    assert x_BHTK.data_ptr() == x_BTD.data_ptr()


@pytest.mark.parametrize("grad", [True, False])
def test_softmax_rows_sum_to_one_over_valid_keys(grad: bool) -> None:
    scores_BHTT = torch.randn(B, H, T, T)
    mask = padding_mask(LENGTHS, T)
    expected = torch.zeros(B, H, T, T)
    for row, length in enumerate(LENGTHS.tolist()):
        exponential = scores_BHTT[row, ..., :length].exp()
        expected[row, ..., :length] = exponential / exponential.sum(-1, keepdim=True)

    with torch.set_grad_enabled(grad):
        probs_BHTT = softmax_over_keys(scores_BHTT.clone(), mask)

    torch.testing.assert_close(probs_BHTT, expected)
    assert (probs_BHTT[1, ..., 3:] == 0).all()


def test_softmax_does_not_overflow() -> None:
    scores_BHTT = torch.tensor([[[[1e4, 1e4], [-1e4, 1e4]]]])

    assert softmax_over_keys(scores_BHTT, None).tolist() == [[[[0.5, 0.5], [0.0, 1.0]]]]


def test_softmax_reuses_memory_only_where_no_gradient_is_taken() -> None:
    scores_BHTT = torch.randn(B, H, T, T)
    before_BHTT = scores_BHTT.clone()

    softmax_over_keys(scores_BHTT, padding_mask(LENGTHS, T))
    assert torch.equal(scores_BHTT, before_BHTT)

    with torch.no_grad():
        probs_BHTT = softmax_over_keys(scores_BHTT, padding_mask(LENGTHS, T))
    assert probs_BHTT.data_ptr() == scores_BHTT.data_ptr()


def test_scores_project_queries_and_keys_separately() -> None:
    module, x_BTD = make_scores(), torch.randn(B, T, D)

    probs_BHTT = module(x_BTD, Frames())

    q_BTD = x_BTD @ module.query.weight.T + module.query.bias
    k_BTD = x_BTD @ module.key.weight.T + module.key.bias
    for head in range(H):
        channels = slice(head * K, (head + 1) * K)
        product = q_BTD[..., channels] @ k_BTD[..., channels].transpose(1, 2)
        torch.testing.assert_close(probs_BHTT[:, head], (product / K**0.5).softmax(-1))


def test_the_map_is_the_softmax_of_the_scores() -> None:
    module, x_BTD, mask = make_scores(), torch.randn(B, T, D), padding_mask(LENGTHS, T)

    q_BHTK, keys = module.project(x_BTD, Frames(mask))

    assert torch.equal(module.scores(x_BTD, Frames(mask)), module.positions.scores(q_BHTK, keys))
    torch.testing.assert_close(
        module(x_BTD, Frames(mask)),
        softmax_over_keys(module.scores(x_BTD, Frames(mask)), mask),
    )


@pytest.mark.parametrize("num_heads", [1, 3])
def test_fewer_heads_than_the_width_holds(num_heads: int) -> None:
    module = AttentionScores(d_model=D, num_heads=num_heads, head_dim=K, positions=Positions())
    full = AttentionScores(d_model=D, num_heads=4, head_dim=K, positions=Positions())
    with torch.no_grad():
        for part in ("query", "key"):
            narrow, wide = module.get_submodule(part), full.get_submodule(part)
            for name, tensor in narrow.named_parameters():
                tensor.copy_(wide.get_parameter(name)[: num_heads * K])
    x_BTD = torch.randn(B, T, D)

    probs_BHTT = module(x_BTD, Frames())

    assert module.query.weight.shape == module.key.weight.shape == (num_heads * K, D)
    assert probs_BHTT.shape == (B, num_heads, T, T)
    torch.testing.assert_close(probs_BHTT, full(x_BTD, Frames())[:, :num_heads])


def test_a_mix_of_fewer_heads_is_that_of_a_full_one_without_the_others() -> None:
    whole, few = make_mix(), ValueMix(d_model=D, num_heads=1, head_dim=K, dropout=0.0)
    with torch.no_grad():
        few.value.weight.copy_(whole.value.weight[:K])
        few.value.bias.copy_(whole.value.bias[:K])
        few.output.weight.copy_(whole.output.weight[:, :K])
        few.output.bias.copy_(whole.output.bias)
    x_BTD, probs_BHTT = torch.randn(B, T, D), random_map()
    probs_BHTT[:, 1:] = 0.0  # their values are mixed into nothing

    torch.testing.assert_close(few(x_BTD, probs_BHTT[:, :1]), whole(x_BTD, probs_BHTT))


def test_an_output_projection_alone_is_that_of_a_whole_mix() -> None:
    whole, rest = make_mix(), OutputOnly(d_model=D)
    rest.output.load_state_dict(whole.output.state_dict())
    context_BHTK = torch.randn(B, H, T, K)

    assert torch.equal(rest.merge(context_BHTK), whole.merge(context_BHTK))
    assert {name for name, _ in rest.named_parameters()} == {"output.weight", "output.bias"}


def test_softmax_can_be_told_to_spare_the_scores() -> None:
    scores_BHTT, mask = torch.randn(B, H, T, T), padding_mask(LENGTHS, T)
    before_BHTT = scores_BHTT.clone()

    with torch.no_grad():
        probs_BHTT = softmax_over_keys(scores_BHTT, mask, in_place=False)
        assert torch.equal(scores_BHTT, before_BHTT)
        torch.testing.assert_close(probs_BHTT, softmax_over_keys(scores_BHTT, mask))


@pytest.mark.parametrize(("training", "rate"), [(True, 0.3), (False, 0.0)])
def test_dropout_now(training: bool, rate: float) -> None:
    assert make_mix(0.3).train(training).dropout_now == rate


def test_mix_weighs_values_by_the_map() -> None:
    module, x_BTD, probs_BHTT = make_mix(), torch.randn(B, T, D), random_map()
    v_BTD = x_BTD @ module.value.weight.T + module.value.bias
    context_BTD = torch.cat(
        [probs_BHTT[:, head] @ v_BTD[..., head * K : (head + 1) * K] for head in range(H)], -1
    )

    torch.testing.assert_close(
        module(x_BTD, probs_BHTT), context_BTD @ module.output.weight.T + module.output.bias
    )


@pytest.mark.parametrize("num_frames", [T - 1, T + 1, 2 * T])
def test_a_map_over_another_number_of_frames_is_refused(num_frames: int) -> None:
    with pytest.raises(ValueError, match=f"map over {T} frames .* {num_frames} frames.*frame rate"):
        make_mix()(torch.randn(B, num_frames, D), random_map())


def test_dropout_differs_per_call_and_spares_the_map() -> None:
    torch.manual_seed(0)
    module, x_BTD, probs_BHTT = make_mix(0.5).train(), torch.randn(B, T, D), random_map()
    before_BHTT = probs_BHTT.clone()

    once_BTD, again_BTD = module(x_BTD, probs_BHTT), module(x_BTD, probs_BHTT)

    assert not torch.equal(once_BTD, again_BTD)
    assert torch.equal(probs_BHTT, before_BHTT)


def test_the_halves_share_no_parameter() -> None:
    scores = {name for name, _ in make_scores().named_parameters()}
    mix = {name for name, _ in make_mix().named_parameters()}

    assert scores == {"query.weight", "query.bias", "key.weight", "key.bias"}
    assert mix == {"value.weight", "value.bias", "output.weight", "output.bias"}
