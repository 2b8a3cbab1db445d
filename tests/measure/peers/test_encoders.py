from __future__ import annotations

import pytest
import torch

from asr.errors import InputError
from asr.measure.peers.peer import peer_encoders, peer_key, peer_size
from tests.model.configs import CONFIG, ENCODERS, changed


def test_a_library_is_built_once_for_equal_dimensions() -> None:
    configs = {
        "pairs": CONFIG,
        "none": changed("reuse", {"_target_": "asr.reuse.none.NoReuse"}),
        "rotary": changed("encoder.positions", "rotary"),
        "wide": changed("encoder.d_model", 32),
    }
    peers = peer_encoders(configs, ["torchaudio"], "cpu", "bfloat16")
    assert list(peers) == [peer_key("torchaudio", configs[name]) for name in ("pairs", "wide")]
    assert [peer.dtype for peer, _ in peers.values()] == [torch.bfloat16] * 2
    assert peer_encoders(configs, [], "cpu", "float32") == {}


def test_sizes_are_those_of_the_config() -> None:
    size = peer_size(CONFIG)
    assert (size.num_mel_bins, size.d_model, size.conv_kernel_size) == (10, 16, 5)
    with pytest.raises(InputError, match=r"no encoder.conv_kernel_size; .* encoder=conformer_\*"):
        peer_size({**CONFIG, "encoder": ENCODERS["transformer"]})
