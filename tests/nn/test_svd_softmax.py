"""SVD-softmax: exact with the whole width, closer with every column and word, no batch in it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr.errors import InputError
from asr.nn import svd_softmax
from asr.nn.svd_softmax import (
    SvdLinear,
    SvdSoftmax,
    decompose_outputs,
    right_singular_vectors,
    shape_decompositions,
)
from asr.profiling.cost import multiply_adds

WIDTH, NUM_WORDS = 12, 50


def layer(*, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """An output layer whose singular values fall, as those of trained ones do."""
    torch.manual_seed(0)
    linear = nn.Linear(WIDTH, NUM_WORDS, bias=bias)
    with torch.no_grad():
        mixing_DD = torch.randn(WIDTH, WIDTH) * (0.7 ** torch.arange(WIDTH)).unsqueeze(1)
        linear.weight.copy_(torch.randn(NUM_WORDS, WIDTH) @ mixing_DD)
    return linear.to(dtype)


def spec(preview_width: int, refined_words: int, outputs: tuple[str, ...] = ()) -> SvdSoftmax:
    return SvdSoftmax(outputs=outputs, preview_width=preview_width, refined_words=refined_words)


def states(number: int, *, seed: int = 1) -> Tensor:
    return torch.randn(number, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
def test_the_whole_width_is_exact(bias: bool) -> None:
    linear = layer(bias=bias)
    made = SvdLinear.of(linear, spec(WIDTH, 1))
    x_NSD = states(6).view(2, 3, WIDTH)
    torch.testing.assert_close(made(x_NSD), linear(x_NSD).detach(), atol=1e-5, rtol=1e-5)


def test_all_words_refined_are_exact() -> None:
    linear = layer()
    made = SvdLinear.of(linear, spec(3, NUM_WORDS))
    torch.testing.assert_close(made(states(6)), linear(states(6)).detach(), atol=1e-5, rtol=1e-5)


def test_singular_vectors_are_those_of_the_svd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svd_softmax, "ROWS", 7)
    weight_VD = layer(dtype=torch.float64).weight.detach()
    found_DD = right_singular_vectors(weight_VD)
    _, values_D, vectors_DD = torch.linalg.svd(weight_VD, full_matrices=False)
    cosines_D = (found_DD * vectors_DD.t()).sum(0).abs()
    torch.testing.assert_close(cosines_D, torch.ones_like(cosines_D))
    torch.testing.assert_close((weight_VD @ found_DD).norm(dim=0), values_D)


def by_the_paper(linear: nn.Linear, x_D: Tensor, width: int, refined: int) -> Tensor:
    """Algorithm 1 of the paper on one hidden state, word by word."""
    weight_VD = linear.weight.detach().double()
    u_VD, values_D, vectors_DD = torch.linalg.svd(weight_VD, full_matrices=False)
    b_VD = u_VD * values_D
    turned_D, bias_V = vectors_DD @ x_D.double(), linear.bias.detach()
    logits = []
    for word in range(len(b_VD)):
        logits.append(float(b_VD[word, :width] @ turned_D[:width] + bias_V[word]))
    best = sorted(range(len(logits)), key=lambda word: -logits[word])[:refined]
    for word in best:
        logits[word] = float(b_VD[word] @ turned_D + bias_V[word])
    return torch.tensor(logits)


@pytest.mark.parametrize(("width", "refined"), [(1, 1), (3, 5), (6, 20), (11, 49)])
def test_it_is_the_algorithm_of_the_paper(width: int, refined: int) -> None:
    linear = layer()
    made = SvdLinear.of(linear, spec(width, refined))
    for x_D in states(5):
        torch.testing.assert_close(
            made(x_D), by_the_paper(linear, x_D, width, refined), atol=1e-4, rtol=1e-4
        )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_the_error_never_grows_with_the_preview_or_the_refined_words(seed: int) -> None:
    """Of all words for every hidden state, as the columns of B are orthogonal."""
    linear = layer(dtype=torch.float64)
    x_ND = states(4, seed=seed).double()
    exact_NV = linear(x_ND).detach()
    errors_WN = []
    for width in range(1, WIDTH + 1):
        made = SvdLinear.of(linear, spec(width, 1))
        turned_ND = x_ND @ made.basis_DD.t()
        preview_NV = turned_ND[:, :width] @ made.preview_VW.t() + made.bias_V
        errors_WN.append((preview_NV - exact_NV).norm(dim=1))
    assert bool((torch.stack(errors_WN).diff(dim=0) <= 1e-9).all())
    errors_KN = [
        (SvdLinear.of(linear, spec(2, refined))(x_ND) - exact_NV).norm(dim=1)
        for refined in range(1, NUM_WORDS + 1, 7)
    ]
    assert bool((torch.stack(errors_KN).diff(dim=0) <= 1e-9).all())


def test_a_batch_is_its_rows_alone() -> None:
    made = SvdLinear.of(layer(), spec(4, 9))
    x_ND = states(7)
    alone_NV = torch.cat([made(row_D.unsqueeze(0)) for row_D in x_ND])
    torch.testing.assert_close(made(x_ND), alone_NV, atol=1e-5, rtol=1e-5)


def test_no_hidden_state_gives_none() -> None:
    assert SvdLinear.of(layer(), spec(4, 9))(torch.zeros(2, 0, WIDTH)).shape == (2, 0, NUM_WORDS)


def test_it_takes_no_gradient() -> None:
    made = SvdLinear.of(layer(), spec(4, 9))
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert not made(states(2).requires_grad_()).requires_grad


def test_multiply_adds_are_those_that_run() -> None:
    made = SvdLinear.of(layer(), spec(4, 9))
    assert made.multiply_adds() == WIDTH**2 + NUM_WORDS * 4 + 9 * (WIDTH - 4)
    assert multiply_adds(made, states(1)) == made.multiply_adds()
    assert multiply_adds(made, states(5)) == 5 * made.multiply_adds()


def test_the_first_words_are_a_layer_on_the_same_memory() -> None:
    made = SvdLinear.of(layer(), spec(4, 9))
    first = made.first(20)
    assert first.preview_VW.data_ptr() == made.preview_VW.data_ptr()
    x_ND = states(3)
    turned_ND = x_ND @ made.basis_DD.t()
    preview_NV = turned_ND[:, :4] @ made.preview_VW[:20].t() + made.bias_V[:20]
    is_preview_NV = torch.isclose(first(x_ND), preview_NV, atol=1e-6)
    assert is_preview_NV.sum(1).tolist() == [20 - 9] * 3


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU(), layer())
        self.output = layer()


def test_named_layers_are_replaced_and_loaded_again() -> None:
    model, chosen = Two(), spec(4, 9, ("inner.1",))
    expected_NV = SvdLinear.of(model.output, chosen)(states(3))
    decompose_outputs(model, chosen)
    assert isinstance(model.output, nn.Linear)
    again = Two()
    shape_decompositions(again, chosen)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.inner[1](states(3)), expected_NV)


@pytest.mark.parametrize(
    ("width", "refined", "name", "message"),
    [
        (13, 9, "output", "preview_width=13: allowed: 1 to 12, the width"),
        (4, 51, "output", "refined_words=51: allowed: 1 to 50, the words"),
        (4, 9, "inner.0", "outputs: 'inner.0'; allowed: inner.1, output"),
        (4, 9, "other", "outputs: 'other'; allowed: inner.1, output"),
        (4, 9, "", "outputs: ''; allowed: inner.1, output"),
    ],
)
def test_what_does_not_fit(width: int, refined: int, name: str, message: str) -> None:
    for function in (shape_decompositions, decompose_outputs):
        with pytest.raises(InputError, match=message):
            function(Two(), spec(width, refined, (name,)))


@pytest.mark.parametrize("key", ["preview_width", "refined_words"])
def test_numbers_begin_at_one(key: str) -> None:
    with pytest.raises(InputError, match=f"svd_softmax.{key}=0: allowed: a whole number from 1"):
        spec(0, 1) if key == "preview_width" else spec(1, 0)
