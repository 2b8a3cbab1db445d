import pytest
import torch
from torch import Tensor, nn

from asr.profiling.cost import part_name, watched


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Dropout(0.5), nn.ReLU()))


def test_submodules_are_told_as_they_run() -> None:
    module = layers()
    said: list[str] = []
    with watched(module, enter=said.append, leave=lambda: said.append("<")):
        y: Tensor = module(torch.randn(2, 3))
    assert said == ["", "0", "<", "1", "1.0", "<", "1.1", "<", "<", "<"]
    assert not y.requires_grad


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(fails: bool) -> None:
    module = layers()
    module[0].eval()  # type: ignore[index]
    modes = [one.training for one in module.modules()]
    watch = watched(module, enter=lambda name: None, leave=lambda: None)
    if fails:
        with pytest.raises(RuntimeError), watch:
            module(torch.randn(2, 4))
    else:
        with watch:
            assert not module.training
    assert [one.training for one in module.modules()] == modes
    assert all(not one._forward_hooks and not one._forward_pre_hooks for one in module.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("name", "depth", "expected"),
    [
        ("layers.3.attention.scores", None, "layers.attention.scores"),
        ("layers.3.attention.scores", 2, "layers.attention"),
        ("layers.3", 2, "layers"),
        ("", None, ""),
    ],
)
def test_numbers_are_no_names(name: str, depth: int | None, expected: str) -> None:
    assert part_name(name, depth) == expected
