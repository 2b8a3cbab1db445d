from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from asr.encoder.maps import Replay, encode_with_maps
from asr.encoder.pooling import Pooling, merged
from asr.encoder.stack import Encoder, Passage
from asr.encoder.streaming import start_streams
from asr.errors import InputError
from asr.head.ctc import CtcHead, utterance_losses
from asr.model.build import build_encoder
from asr.nn.chunks import ChunkContext
from asr.nn.frames import Frames
from asr.reuse.schedule import schedule_from_groups
from tests.encoder.tiny import random_features, randomise, tiny_encoder
from tests.equivalence.checks import assert_exported_branches_compute_the_same
from tests.model.configs import CONFIG, ENCODERS, random_waveforms, tiny_model

LENGTHS = [61, 40, 3, 57, 8]
TARGETS = {
    "none": {"_target_": "asr.reuse.none.NoReuse"},
    "probs": {"_target_": "asr.reuse.probs.ReuseProbs", "group_size": 2},
    "context": {"_target_": "asr.reuse.context.ReuseContext", "group_size": 2},
    "kv": {"_target_": "asr.reuse.kv.ReuseKeysValues", "group_size": 2},
    "within": {"_target_": "asr.reuse.within.ReuseWithin"},
}


def encoder_of(
    pool_after: list[int], reuse: str = "probs", kind: str = "conformer", **changes: Any
) -> Encoder:
    base = ENCODERS["conformer" if kind == "conformer" else "transformer"]
    encoder = base | {"dropout": 0.0, "pool_after": pool_after} | changes
    made = build_encoder({"encoder": encoder, "reuse": TARGETS[reuse]}, 10)
    randomise(made)
    return made.eval()


def pairs(x_TD: Tensor) -> Tensor:
    return torch.stack([x_TD[first : first + 2].mean(0) for first in range(0, len(x_TD), 2)])


@pytest.mark.parametrize("kind", ["conformer", "transformer"])
@pytest.mark.parametrize("reuse", TARGETS)
@pytest.mark.parametrize("pool_after", [[2], [2, 3]])
def test_each_utterance_equals_layers_on_pairs_of_its_frames(
    kind: str, reuse: str, pool_after: list[int]
) -> None:
    if pool_after == [2, 3] and reuse not in ("none", "within"):
        pool_after = [2]
    encoder = encoder_of(pool_after, reuse, kind)
    features_BTF, lengths_B = random_features(LENGTHS)
    with torch.no_grad():
        found = encoder(features_BTF, lengths_B)
        for row, length in enumerate(LENGTHS):
            x_BTD, _, frames = encoder.prepare(
                features_BTF[row : row + 1, :length], lengths_B[row : row + 1]
            )
            for first, end in zip([0, *pool_after], [*pool_after, 4], strict=True):
                if first:
                    x_BTD = pairs(x_BTD[0])[None]
                    frames = Frames(None, encoder.position_table(x_BTD.shape[1], x_BTD))
                carry = None
                for index in range(first, end):
                    x_BTD, carry = encoder.layers[index](x_BTD, frames, carry)
            (expected_TD,) = encoder.norm(x_BTD)
            assert found.lengths_B[row] == len(expected_TD)
            torch.testing.assert_close(
                found.frames_BTD[row, : len(expected_TD)], expected_TD, atol=1e-5, rtol=1e-5
            )


def test_merged_frames_are_means_of_the_valid_ones() -> None:
    x_BTD = torch.tensor([[1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 6.0, 99.0, 99.0]])[..., None]
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    found_BSD, mask_BS = merged(x_BTD, mask)
    assert mask_BS is not None
    assert found_BSD[..., 0].tolist() == [[2.0, 6.0, 9.0], [3.0, 6.0, 0.0]]
    assert mask_BS.tolist() == [[False] * 3, [False, False, True]]
    assert merged(x_BTD[:1], None)[1] is None


@pytest.mark.parametrize("num_frames", range(1, 12))
def test_lengths_by_steps_and_at_once(num_frames: int) -> None:
    found = Pooling((2, 3)).num_frames(torch.tensor([num_frames]))
    once = (num_frames + 1) // 2
    assert found.item() == (once + 1) // 2


@pytest.mark.parametrize("subsampling", ["conv4", "separable8"])
def test_lengths_and_the_rate(subsampling: str) -> None:
    encoder = encoder_of([2], subsampling=subsampling)
    factor = 8 if subsampling == "conv4" else 16
    assert encoder.subsampling_factor == factor
    output = encoder(*random_features(LENGTHS), intermediate_layers=[0, 1, 2])
    before = [-(-length // (factor // 2)) for length in LENGTHS]
    behind = [-(-length // factor) for length in LENGTHS]
    lengths = [one.lengths_B.tolist() for one in output.intermediate]
    assert lengths == [before, before, behind]
    assert output.lengths_B.tolist() == behind


def test_exits_have_the_rate_of_their_layer() -> None:
    features_BTF, lengths_B = random_features(LENGTHS)
    for depth, factor in ((1, 4), (2, 4), (3, 8), (4, 8)):
        encoder = encoder_of([2], "probs")
        with torch.no_grad():
            whole = encoder(features_BTF, lengths_B, [depth - 1])
            encoder.exit_at(depth)
            found = encoder(features_BTF, lengths_B)
        assert encoder.subsampling_factor == factor
        assert torch.equal(found.lengths_B, whole.intermediate[0].lengths_B)
        assert torch.equal(found.frames_BTD, whole.intermediate[0].frames_BTD)


@pytest.mark.parametrize(
    ("pool_after", "crossing"),
    [([1], "layer 1 follows layer 0"), ([2, 3], "layer 3 follows layer 2")],
)
@pytest.mark.parametrize("reuse", ["probs", "context", "kv"])
def test_no_group_goes_across(pool_after: list[int], crossing: str, reuse: str) -> None:
    with pytest.raises(InputError) as caught:
        encoder_of(pool_after, reuse)
    assert f"encoder.pool_after={pool_after}: {crossing}" in str(caught.value)
    assert "reuse must not cross a change of frame rate" in str(caught.value)


def test_a_group_around_an_alone_layer_goes_across_too() -> None:
    reuse = {"_target_": "asr.reuse.probs.ReuseProbs", "pattern": "LAF"}
    encoder = ENCODERS["conformer"] | {"pool_after": [1]}
    with pytest.raises(InputError, match="layer 2 follows layer 0"):
        build_encoder({"encoder": encoder, "reuse": reuse}, 10)


@pytest.mark.parametrize("pool_after", [[0], [4], [2, 2], [-1]])
def test_places_that_are_none(pool_after: list[int]) -> None:
    with pytest.raises(InputError, match=r"encoder\.pool_after=.*allowed"):
        encoder_of(pool_after, "none")
    with pytest.raises(InputError, match=r"allowed of encoder.num_layers=3: .*1 to 2, each once"):
        Pooling.in_schedule([3], schedule_from_groups([1, 2], 3))


def test_streams_and_analysis_refuse() -> None:
    encoder = encoder_of([2], "none")
    context = ChunkContext(chunk_frames=4, left_frames=8, right_frames=0)
    refused = r"pool_after=\[2\] merges frames of whole utterances and neither streams nor trains"
    with pytest.raises(InputError, match=refused):
        start_streams(encoder, context)
    with pytest.raises(InputError, match=refused):
        encoder(*random_features([40]), context=context)
    with pytest.raises(InputError, match=refused):
        encoder_of([2], "none", chunk_frames=[4])
    for use in (encode_with_maps, Replay):
        with pytest.raises(InputError, match="different frame rates are not analysed"):
            use(encoder, *random_features([40]))


@pytest.mark.parametrize("checkpointing", ["layers", "groups"])
def test_activations_computed_again(checkpointing: Any) -> None:
    encoder = encoder_of([2]).train()
    gradients = []
    for mode in ("none", checkpointing):
        encoder.checkpointing = mode
        encoder.zero_grad()
        output = encoder(*random_features(LENGTHS), [1, 2])
        loss = sum(one.frames_BTD.square().mean() for one in (output, *output.intermediate))
        assert isinstance(loss, Tensor)
        torch.autograd.backward(loss)
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_an_exported_graph_merges_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [random_features(lengths) for lengths in ([1], LENGTHS, [600])]
    assert_exported_branches_compute_the_same(encoder_of([2]), batches, monkeypatch)


def test_the_loss_of_each_layer_has_its_own_lengths() -> None:
    encoder = encoder_of([2])
    head = CtcHead(d_model=16, vocab_size=5, intermediate_layers=[0], intermediate_weight=0.25)
    head = head.eval()
    encoded = encoder(*random_features([61, 57]), [0])
    targets = torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    last, first = (
        utterance_losses(head(one.frames_BTD), one.lengths_B, *targets).mean()
        for one in (encoded, *encoded.intermediate)
    )
    found = head.loss(encoded, *targets).loss
    torch.testing.assert_close(found, 0.75 * last + 0.25 * first)


def test_a_frame_of_the_model_is_as_long_as_its_pairs() -> None:
    config = CONFIG | {"encoder": ENCODERS["conformer"] | {"pool_after": [2]}}
    plain, pooled = tiny_model(), tiny_model(config)
    assert pooled.frame_shift_s == pytest.approx(2 * plain.frame_shift_s)
    with torch.no_grad():
        _, expected_B = plain(*random_waveforms([6000, 3, 2345]))
        log_probs_BTV, lengths_B = pooled(*random_waveforms([6000, 3, 2345]))
    assert lengths_B.tolist() == [-(-int(length) // 2) for length in expected_B]
    assert log_probs_BTV.shape[1] == int(lengths_B.max())


def test_a_passage_goes_through_layers_in_parts() -> None:
    """What `ConfidentExit` relies on: a merge belongs to the layer above it."""
    encoder = encoder_of([2], "none")
    x_BTD, _, frames = encoder.prepare(*random_features(LENGTHS))
    with torch.no_grad():
        whole, _ = encoder.run_layers(range(4), Passage(x_BTD, frames))
        below, _ = encoder.run_layers(range(2), Passage(x_BTD, frames))
        above, _ = encoder.run_layers(range(2, 4), below)
    assert below.x_BTD.shape[1] == x_BTD.shape[1]
    assert torch.equal(above.x_BTD, whole.x_BTD)


def test_without_pooling_nothing_changes() -> None:
    encoder = tiny_encoder()
    assert encoder.pooling.after == ()
    assert encoder.subsampling_factor == 4
