"""Starting from other weights: what fits is copied, what does not is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asr.errors import InputError
from asr.model.build import build_model
from asr.model.convert import initialise, share_pieces
from tests.train.test_real_parts import CONFIG


def test_copies_what_fits_and_names_the_rest() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)})
    other = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(4, 3), "c": nn.Linear(1, 1)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = initialise(model, other.state_dict())
    assert torch.equal(model.state_dict()["a.weight"], other.state_dict()["a.weight"])
    assert torch.equal(model.state_dict()["b.weight"], before["b.weight"])
    assert result.copied == ("a.weight", "a.bias", "b.bias")
    assert result.fresh == ("b.weight",)
    assert result.unused == ("b.weight", "c.weight", "c.bias")


def test_weights_of_another_kind_are_refused() -> None:
    with pytest.raises(InputError, match="no tensor of that model fits"):
        initialise(nn.Linear(2, 2), nn.Linear(3, 3).state_dict())


def test_pieces_of_both_vocabularies_keep_their_rows() -> None:
    torch.manual_seed(0)
    theirs = ("<blank>", "<unk>", "a", "b", "c")
    ours = ("<blank>", "<unk>", "c", "d", "a", "e")
    parent, model = (build_model(CONFIG, vocab_size=len(v)) for v in (theirs, ours))
    before = model.state_dict()["head.project.weight"].clone()
    weights, pieces = share_pieces(model, parent.state_dict(), theirs, ours)
    assert (pieces.kept, pieces.fresh, pieces.dropped) == (
        ("<blank>", "<unk>", "c", "a"),
        ("d", "e"),
        ("b",),
    )
    assert not initialise(model, weights).fresh
    for name in ("head.project.weight", "head.project.bias"):
        former, rows = parent.state_dict()[name], model.state_dict()[name]
        assert torch.equal(rows[[0, 1, 2, 4]], former[[0, 1, 4, 2]])
    assert torch.equal(model.state_dict()["head.project.weight"][[3, 5]], before[[3, 5]])
