from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from asr.encoder.maps import encode_with_maps
from asr.encoder.parts import ENCODER_PARTS
from asr.encoder.septr import SepTr, SepTrLayer
from asr.encoder.streaming import start_streams
from asr.errors import InputError
from asr.nn.chunks import ChunkContext
from asr.nn.positions import PositionKind
from asr.nn.subsampling import SubsamplingKind
from asr.profiling.cost import part_name
from asr.reuse.base import ReuseMethod
from asr.reuse.none import NoReuse
from asr.reuse.probs import ReuseProbs
from tests.encoder.tiny import NUM_HEADS, NUM_MEL_BINS, POSITIONS, random_features, randomise
from tests.equivalence.cases import CASES, Case
from tests.equivalence.checks import assert_padded_equals_alone
from tests.equivalence.reference import Seen, attend, mix, own_scores, places_of, softmax, values
from tests.pairwise import pairwise

LENGTHS = [61, 1, 33, 8, 60]
SUBSAMPLINGS: tuple[SubsamplingKind, ...] = ("conv4", "separable8")


def tiny_septr(
    reuse: ReuseMethod | None = None,
    *,
    positions: PositionKind = "relative",
    subsampling: SubsamplingKind = "conv4",
    num_heads: int = NUM_HEADS,
    band_bins: int = 2,
    dropout: float = 0.0,
) -> SepTr:
    """A randomised encoder in inference mode: 10 bins are 3 behind conv4, 2 bands and a class."""
    encoder = SepTr(
        reuse=NoReuse() if reuse is None else reuse,
        num_mel_bins=NUM_MEL_BINS,
        num_layers=4,
        d_model=16,
        num_heads=num_heads,
        ffn_dim=32,
        band_bins=band_bins,
        positions=positions,
        subsampling=subsampling,
        subsampling_channels=8,
        dropout=dropout,
    )
    randomise(encoder)
    return encoder.eval()


def encode_token_by_token(encoder: SepTr, features_TF: Tensor, leaders: list[int]) -> Tensor:
    """Output (T', D) of one utterance by loops over its grid, each token by itself."""
    image_BTFC = features_TF[None, None]
    for stage in encoder.subsampling.stages:
        image_BTFC = stage(image_BTFC)
    image_CTF = image_BTFC[0]
    project = encoder.subsampling.project.get_submodule("project")
    token_GD = encoder.subsampling.project.get_parameter("token_GD")
    band_bins = project.get_parameter("weight").shape[1] // len(image_CTF)
    num_frames, num_bins = image_CTF.shape[1:]
    grid: list[list[Tensor]] = []
    for t in range(num_frames):
        tokens = [token_GD[0]]
        for band, first in enumerate(range(0, num_bins, band_bins), start=1):
            cells = torch.zeros(band_bins, len(image_CTF))
            for row, mel in enumerate(range(first, min(first + band_bins, num_bins))):
                cells[row] = image_CTF[:, t, mel]
            tokens.append(project(cells.flatten()) + token_GD[band])
        grid.append(tokens)
    num_tokens = len(grid[0])
    groups: dict[tuple[int, int], list[Seen]] = {}
    for index, place in enumerate(places_of(encoder.reuse, encoder.num_layers)):
        layer = encoder.layers[index]
        assert isinstance(layer, SepTrLayer)
        for t in range(num_frames):
            grid[t] = list(over_bands(layer, torch.stack(grid[t])).unbind())
        for g in range(num_tokens):
            x_TD = torch.stack([grid[t][g] for t in range(num_frames)])
            group = groups.setdefault((leaders[index], g), [])
            group.append(Seen(layer.attention, layer.attention_norm(x_TD)))
            x_TD = x_TD + attend(encoder, place, group)
            x_TD = x_TD + layer.feedforward(x_TD[None])[0]
            for t in range(num_frames):
                grid[t][g] = x_TD[t]
    class_TD = torch.stack([tokens[0] for tokens in grid])
    norm = encoder.norm
    return functional.layer_norm(
        class_TD, class_TD.shape[1:], norm.get_parameter("weight"), norm.get_parameter("bias")
    )


def over_bands(layer: SepTrLayer, x_GD: Tensor) -> Tensor:
    """The tokens of a frame behind the first half of a layer."""
    seen = Seen(layer.band_attention, layer.band_attention_norm(x_GD))
    probs = [softmax(head) for head in own_scores(seen, NUM_HEADS, x_GD.shape[1])]
    x_GD = x_GD + mix(probs, values(seen), layer.band_attention)
    output_GD: Tensor = x_GD + layer.band_feedforward(x_GD[None])[0]
    return output_GD


@pairwise(
    case=["none-fused", "probs-pairs", "kv-all", "context-pairs", "band-between"],
    positions=POSITIONS,
    band_bins=[1, 2, 3],
)
def test_equals_loops_over_the_grid(case: str, positions: PositionKind, band_bins: int) -> None:
    encoder = tiny_septr(CASES[case].reuse, positions=positions, band_bins=band_bins)
    features_BTF, lengths_B = random_features([21, 13])

    with torch.no_grad():
        found = encoder(features_BTF, lengths_B)
        for row, length in enumerate(lengths_B):
            expected_TD = encode_token_by_token(
                encoder, features_BTF[row, :length], CASES[case].leaders
            )
            found_TD = found.frames_BTD[row, : len(expected_TD)]
            torch.testing.assert_close(found_TD, expected_TD, atol=1e-5, rtol=1e-4)


@pairwise(case=CASES, positions=POSITIONS, subsampling=SUBSAMPLINGS)
def test_padded_equals_alone(
    case: Case, positions: PositionKind, subsampling: SubsamplingKind
) -> None:
    encoder = tiny_septr(
        case.reuse, positions=positions, subsampling=subsampling, num_heads=case.num_heads
    )
    assert_padded_equals_alone(encoder, LENGTHS)


@pytest.mark.parametrize("reuse", [NoReuse(), ReuseProbs(group_size=2)], ids=["none", "probs"])
def test_every_parameter_takes_a_gradient(reuse: ReuseMethod) -> None:
    encoder = tiny_septr(reuse, dropout=0.1).train()
    features_BTF, lengths_B = random_features([40, 33])

    encoder(features_BTF, lengths_B).frames_BTD.square().sum().backward()

    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_followers_have_no_queries_keys_or_positions_over_time() -> None:
    encoder = tiny_septr(ReuseProbs(group_size=4))
    names = [name for name in encoder.state_dict() if ".attention.scores." in name]
    assert names
    assert all(name.startswith("layers.0.") for name in names)
    assert encoder.state_dict().keys() >= {"layers.3.band_attention.scores.query.weight"}


def test_maps_are_those_of_the_class_tokens() -> None:
    encoder = tiny_septr(ReuseProbs(group_size=2))
    features_BTF, lengths_B = random_features([40, 33])
    encoded = encode_with_maps(encoder, features_BTF, lengths_B)
    x_RTD, lengths_B, frames = encoder.prepare(features_BTF, lengths_B)
    layer = encoder.layers[0]
    assert isinstance(layer, SepTrLayer)
    with torch.no_grad():
        attention_input = layer.attention_norm(layer.before_attention(x_RTD))
        map_RHTT = layer.attention.attention_map(attention_input, frames, None)
    first, second, *_ = encoded.maps
    assert first is not None
    assert second is not None
    assert map_RHTT is not None
    assert torch.equal(first, map_RHTT[:: encoder.num_rows])
    assert torch.equal(first, second)
    assert not torch.equal(map_RHTT[0], map_RHTT[1])


def test_every_submodule_of_a_layer_has_a_part() -> None:
    encoder = tiny_septr()
    names = {part_name(name, 2) for name, _ in encoder.named_modules() if name.startswith("layers")}
    names -= {"layers", "layers.attention_norm", "layers.band_attention_norm", "layers.dropout"}
    assert names <= ENCODER_PARTS.keys()


def test_it_does_not_stream() -> None:
    with pytest.raises(InputError, match="encoder=septr attends over whole utterances"):
        start_streams(tiny_septr(), ChunkContext(chunk_frames=4, left_frames=8, right_frames=0))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(InputError, match=r"num_heads=3 must divide encoder\.d_model=16"):
        tiny_septr(num_heads=3)


def test_a_subsampling_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="subsampling='conv2': allowed: conv4, separable8"):
        tiny_septr(subsampling="conv2")  # type: ignore[arg-type]
