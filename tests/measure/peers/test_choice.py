from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import pytest
import torch

from asr.errors import InputError
from asr.measure.peers.peer import PEERS, PeerSize, build_peer, peer_versions
from asr.profiling.breakdown import Call, watch_operations
from asr.profiling.cost import multiply_adds_by_part

SIZE = PeerSize(
    num_mel_bins=16,
    num_layers=2,
    d_model=16,
    num_heads=2,
    ffn_dim=32,
    conv_kernel_size=5,
    subsampling="separable8",
    subsampling_channels=8,
    dropout=0.1,
)
CONV4 = replace(SIZE, subsampling="conv4")
MODULES = {"torchaudio": "torchaudio", "transformers": "transformers", "nemo_toolkit": "nemo"}


def skip_unless_installed(name: str) -> None:
    if importlib.util.find_spec(MODULES[PEERS[name].distribution]) is None:
        pytest.skip(f"{PEERS[name].distribution} is not installed")


@pytest.mark.parametrize("name", PEERS)
def test_frames_are_as_many_and_as_wide_as_ours(name: str) -> None:
    skip_unless_installed(name)
    peer = build_peer(name, SIZE).to(torch.bfloat16)
    assert not peer.training
    with torch.inference_mode():
        encoded = peer(torch.randn(2, 80, 16), torch.tensor([80, 80]))
    assert encoded.frames_BTD.shape == (2, 10, 16)
    assert encoded.frames_BTD.dtype == torch.bfloat16
    assert encoded.lengths_B.tolist() == [10, 10]
    assert peer_versions([name]).keys() == {PEERS[name].distribution}


@pytest.mark.parametrize("name", [name for name in PEERS if name != "parakeet"])
def test_fourfold_subsampling(name: str) -> None:
    skip_unless_installed(name)
    with torch.inference_mode():
        encoded = build_peer(name, CONV4)(torch.randn(1, 80, 16), torch.tensor([80]))
    assert encoded.frames_BTD.shape == (1, 20, 16)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_in_training(name: str, dropout: float) -> None:
    skip_unless_installed(name)
    peer = build_peer(name, replace(SIZE, dropout=dropout)).train()
    batch = torch.randn(1, 80, 16), torch.tensor([80])
    first, second = (peer(*batch).frames_BTD for _ in range(2))
    assert torch.equal(first, second) == (dropout == 0.0)


@pytest.mark.parametrize("name", ["transformers_rotary", "transformers_relative", "parakeet"])
def test_attention_of_transformers_is_fused(name: str) -> None:
    skip_unless_installed(name)
    call = Call(build_peer(name, SIZE), (torch.randn(1, 80, 16), torch.tensor([80])))
    operations: list[str] = []
    watch_operations(call, {}, lambda _, operation: operations.append(str(operation.function)))
    assert sum("scaled_dot_product" in operation for operation in operations) == SIZE.num_layers


def test_peers_behind_our_subsampling_have_the_size_asked_for() -> None:
    skip_unless_installed("torchaudio")
    peer = build_peer("torchaudio", SIZE)
    macs = multiply_adds_by_part(peer, torch.randn(1, 80, 16), torch.tensor([80]))
    per_frame = 2 * 2 * 2 * 16 * 32 + 2 * (4 * 16 * 16 + 2 * 10 * 16 + 3 * 16 * 16 + 5 * 16)
    assert macs["layers"] == 10 * per_frame


def test_parakeet_has_its_own_subsampling() -> None:
    skip_unless_installed("parakeet")
    with pytest.raises(InputError, match=r"--against parakeet: encoder.subsampling=conv4"):
        build_peer("parakeet", CONV4)


def test_a_library_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asr.measure.peers.transformers", None)
    with pytest.raises(InputError, match=r"--against parakeet: .* pip install transformers$"):
        build_peer("parakeet", SIZE)
