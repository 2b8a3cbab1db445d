from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.nn.convolution import ConvolutionModule, depthwise_over_time
from asr.nn.frames import Frames, padding_mask
from tests.encoder.tiny import randomise

D = 6


def make(kernel_size: int = 5) -> ConvolutionModule:
    module = ConvolutionModule(d_model=D, kernel_size=kernel_size, dropout=0.0)
    randomise(module)
    return module.eval()


def step_by_step(module: ConvolutionModule, x_TD: Tensor) -> Tensor:
    """Figure 2 of Gulati et al. over one utterance, every step a plain library call."""
    hidden_TD = module.norm(x_TD)
    value_TD, gate_TD = module.expand(hidden_TD).chunk(2, -1)
    hidden_DT = (value_TD * gate_TD.sigmoid()).T
    kernel = module.depthwise.weight
    hidden_DT = functional.conv1d(hidden_DT, kernel, padding=kernel.shape[-1] // 2, groups=D)
    norm = module.batch_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    hidden_TD = (hidden_DT.T - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    hidden_TD = hidden_TD * norm.weight + norm.bias
    output_TD: Tensor = module.project(hidden_TD * hidden_TD.sigmoid())
    return output_TD


@pytest.mark.parametrize("kernel_size", [1, 5, 31])
@pytest.mark.parametrize("grad", [True, False])
def test_inference_equals_the_steps_one_by_one(kernel_size: int, grad: bool) -> None:
    module, x_BTD = make(kernel_size), torch.randn(2, 7, D)

    with torch.set_grad_enabled(grad):
        output_BTD = module(x_BTD, Frames())

    for row in range(2):
        torch.testing.assert_close(
            output_BTD[row], step_by_step(module, x_BTD[row]), atol=1e-5, rtol=1e-5
        )


def test_padded_equals_alone() -> None:
    module, x_BTD = make(), torch.randn(3, 9, D)
    lengths = [9, 1, 5]

    output_BTD = module(x_BTD, Frames(padding_mask(torch.tensor(lengths), 9)))

    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            output_BTD[row, :length],
            step_by_step(module, x_BTD[row, :length]),
            atol=1e-5,
            rtol=1e-5,
        )


def test_training_computation_with_running_statistics_equals_inference() -> None:
    module, x_BTD = make(), torch.randn(2, 7, D)
    mask = padding_mask(torch.tensor([7, 4]), 7)
    assert mask is not None
    inference_BTD = module(x_BTD, Frames(mask))

    module.train()
    module.batch_norm.eval()

    torch.testing.assert_close(module(x_BTD, Frames(mask))[~mask], inference_BTD[~mask])


def test_training_statistics_are_those_of_the_valid_frames_after_the_convolution() -> None:
    module, lengths = make().train(), [7, 3]
    x_BTD = torch.randn(2, 7, D)
    alone = []
    for row, length in enumerate(lengths):
        hidden = functional.glu(module.expand(module.norm(x_BTD[row : row + 1, :length])), -1)
        alone.append(depthwise_over_time(hidden, module.depthwise.weight)[0])
    expected = nn.BatchNorm1d(D)
    expected.load_state_dict(module.batch_norm.state_dict())
    expected(torch.cat(alone))

    module(x_BTD, Frames(padding_mask(torch.tensor(lengths), 7)))

    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(module.batch_norm.state_dict()[name], tensor)


def test_inference_leaves_its_parameters_and_input_alone() -> None:
    module, x_BTD = make(), torch.randn(2, 7, D)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    input_BTD = x_BTD.clone()

    with torch.no_grad():
        once_BTD = module(x_BTD, Frames())
        again_BTD = module(x_BTD, Frames())

    assert torch.equal(once_BTD, again_BTD)
    assert torch.equal(x_BTD, input_BTD)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_an_even_kernel_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="centre"):
        ConvolutionModule(d_model=D, kernel_size=4, dropout=0.0)


def test_a_kernel_folded_once_serves_until_weights_change() -> None:
    module, x_BTD = make(), torch.randn(2, 7, D)
    with torch.no_grad():
        expected_BTD = module(x_BTD, Frames())
        module.keep_between_calls()
        assert torch.equal(module(x_BTD, Frames()), expected_BTD)
        module.depthwise.weight.zero_()  # shows that the kept kernel is used
        assert torch.equal(module(x_BTD, Frames()), expected_BTD)
        assert module.double()(x_BTD.double(), Frames()).dtype == torch.float64
        assert not torch.equal(module.float()(x_BTD, Frames()), expected_BTD)
    module(x_BTD, Frames()).sum().backward()
    assert module.depthwise.weight.grad is not None
    module.train().eval()
    with torch.no_grad():
        module.keep_between_calls()
        module.depthwise.weight.fill_(1.0)
        assert not torch.equal(module(x_BTD, Frames()), expected_BTD)
