from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from asr.encoder.stack import Checkpointing, Encoder, checkpoint_segments
from asr.reuse.base import ReuseMethod
from asr.reuse.context import ReuseContext
from asr.reuse.heads import ReuseHeads
from asr.reuse.kv import ReuseKeysValues
from asr.reuse.mixed import Mixed, Part
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from asr.reuse.scores import ReuseScores
from asr.reuse.within import ReuseWithin
from tests.encoder.tiny import EncoderKind, random_features, tiny_encoder
from tests.pairwise import pairwise

METHODS: dict[str, ReuseMethod] = {
    "none": NoReuse(),
    "within": ReuseWithin(),
    "probs": ReuseProbs(group_size=4),
    "heads": ReuseHeads(group_size=4, num_reused=1),
    "scores": ReuseScores(group_size=4),
    "kv": ReuseKeysValues(group_size=2),
    "context": ReuseContext(group_size=4),
    "mixed": Mixed(parts=[Part(method=ReuseProbs(group_size=2)), Part(method=NoReuse())]),
}


@pairwise(reuse=METHODS, kind=["conformer", "transformer"], checkpointing=["layers", "groups"])
def test_training_is_the_same_bit_for_bit(
    reuse: ReuseMethod, kind: EncoderKind, checkpointing: Checkpointing
) -> None:
    """Losses, dropout, running statistics and weights, over steps of a padded batch."""
    kept = tiny_encoder(kind, reuse=reuse, dropout=0.2).train()
    again = tiny_encoder(kind, reuse=reuse, dropout=0.2).train()
    again.checkpointing = checkpointing

    assert losses(kept) == losses(again)
    for key, tensor in kept.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key


def losses(encoder: Encoder) -> list[float]:
    torch.manual_seed(3)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    features_BTF, lengths_B = random_features([30, 13])
    curve = []
    for _ in range(3):
        encoded = encoder(features_BTF, lengths_B, [1, 2])
        outputs = (encoded, *encoded.intermediate)
        loss = sum(output.frames_BTD.square().mean() for output in outputs)
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        curve.append(loss.item())
    return curve


def kept_bytes(checkpointing: Checkpointing) -> int:
    """What the forward pass of an encoder with reuse keeps, its parameters left out."""
    encoder = tiny_encoder(reuse=ReuseProbs(group_size=2), dropout=0.2).train()
    encoder.checkpointing = checkpointing
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    features_BTF, lengths_B = random_features([200, 200])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        encoded = encoder(features_BTF, lengths_B)
    assert encoded.frames_BTD.requires_grad
    return sum(kept.values())


def test_less_is_kept() -> None:
    """The subsampling keeps what it kept: what its layers keep is told apart by the difference."""
    none, layers, groups = (kept_bytes(kind) for kind in ("none", "layers", "groups"))

    assert max(layers, groups) < 0.5 * none


def test_inference_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny_encoder().train()
    encoder.checkpointing = "layers"
    twice: list[nn.Module] = []

    def noted(module: nn.Module, run: Callable[[], object]) -> object:
        twice.append(module)
        return run()

    monkeypatch.setattr("asr.encoder.stack.run_twice", noted)
    features_BTF, lengths_B = random_features([30, 13])

    with torch.no_grad():
        encoder(features_BTF, lengths_B)
    encoder.eval()(features_BTF, lengths_B)
    assert not twice

    encoder.train()(features_BTF, lengths_B)
    assert len(twice) == encoder.num_layers


@pytest.mark.parametrize(
    ("checkpointing", "expected"),
    [
        ("none", [range(4)]),
        ("layers", [range(1), range(1, 2), range(2, 3), range(3, 4)]),
        ("groups", [range(2), range(2, 3), range(3, 4)]),
    ],
)
def test_checkpoint_segments(checkpointing: Checkpointing, expected: list[range]) -> None:
    schedule = ReuseProbs(groups=[2, 1, 1]).schedule(4)

    assert checkpoint_segments(schedule, checkpointing) == expected
