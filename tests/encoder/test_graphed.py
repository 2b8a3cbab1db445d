"""Recordings give what the encoder gives; on the CPU a stand-in runs the encoder at each replay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from asr.encoder import graphed
from asr.encoder.graphed import LONGEST_FRAMES, GraphedEncoder, check_graphs
from asr.errors import InputError
from asr.features.shapes import padded_length
from asr.nn import frames as masking
from asr.types import EncoderOutput
from tests.encoder.recording import stand_in
from tests.encoder.tiny import NUM_MEL_BINS, random_features, tiny_encoder
from tests.equivalence.cases import CASES


@pytest.fixture
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)


def check_equal(found: EncoderOutput, expected: EncoderOutput, tolerance: float = 1e-5) -> None:
    assert found.frames_BTD.shape == expected.frames_BTD.shape
    assert torch.equal(found.lengths_B, expected.lengths_B)
    for row, length in enumerate(expected.lengths_B.tolist()):
        torch.testing.assert_close(
            found.frames_BTD[row, :length],
            expected.frames_BTD[row, :length],
            atol=tolerance,
            rtol=tolerance,
        )


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize("inference_mode", [True, False])
def test_outputs_of_all_calls(inference_mode: bool) -> None:
    encoder = tiny_encoder()
    graphs = GraphedEncoder(encoder)
    outputs = []

    with torch.inference_mode() if inference_mode else torch.no_grad():
        for lengths in ([64], [61], [50], [33], [1], [64, 3], [40, 40], [200], [63]):
            features_BTF, lengths_B = random_features(lengths, seed=sum(lengths))
            found = graphs(features_BTF, lengths_B)
            check_equal(found, encoder(features_BTF, lengths_B))
            outputs.append((found, found.frames_BTD.clone()))

    # met twice: one utterance, and two of them, of up to 64 frames
    assert str(graphs).startswith("CUDA graphs: 2 recorded in ")
    assert str(graphs).endswith(" s, 6 of 9 calls replayed")
    for found, frames_BTD in outputs:
        assert torch.equal(found.frames_BTD, frames_BTD), "a replay wrote into an earlier output"


@pytest.mark.usefixtures("_stand_in")
def test_what_the_encoder_does_itself() -> None:
    encoder = tiny_encoder(num_layers=2)
    graphs = GraphedEncoder(encoder)
    features_BTF, lengths_B = random_features([64])
    long_BTF = torch.zeros(1, LONGEST_FRAMES + 1, NUM_MEL_BINS)

    with torch.no_grad():
        graphs.record(features_BTF)
        for _ in range(2):
            assert len(graphs(features_BTF, lengths_B, (0, 1)).intermediate) == 2
            graphs(long_BTF, torch.tensor([5]))
    assert graphs(features_BTF, lengths_B).frames_BTD.requires_grad

    assert graphs.num_replayed == 0


@pytest.mark.usefixtures("_stand_in")
def test_no_more_recordings_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed, "MOST_RECORDINGS", 1)
    encoder = tiny_encoder(num_layers=1)
    graphs = GraphedEncoder(encoder)
    with torch.no_grad():
        for lengths in ([64], [64], [128], [128], [64]):
            features_BTF, lengths_B = random_features(lengths)
            check_equal(graphs(features_BTF, lengths_B), encoder(features_BTF, lengths_B))
    assert graphs.num_replayed == 2


def test_padded_lengths() -> None:
    assert [padded_length(n) for n in (1, 64, 65, 500, 1500, 3000)] == [
        64,
        64,
        128,
        512,
        1536,
        3072,
    ]
    lengths = range(1, LONGEST_FRAMES + 1)
    assert all(n <= padded_length(n) <= max(n + 63, 1.125 * n) for n in lengths)
    assert all(padded_length(padded_length(n)) == padded_length(n) for n in lengths)
    assert len({padded_length(n) for n in lengths}) <= graphed.MOST_RECORDINGS


ONE_OF_EACH = {case.reuse.name: name for name, case in CASES.items()}


@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_no_kernel_is_chosen_by_data(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """While kernels are recorded nothing may be read back; a meta tensor has nothing to read."""
    monkeypatch.setattr(masking, "is_recorded", lambda _: True)
    encoder = CASES[name].encoder().to("meta")
    features_BTF = torch.empty(2, 700, NUM_MEL_BINS, device="meta")

    with torch.no_grad():
        output = encoder(features_BTF, torch.empty(2, dtype=torch.long, device="meta"))

    assert output.frames_BTD.device.type == "meta"


def test_the_cpu_has_no_graphs() -> None:
    check_graphs("cuda:1", "--cuda-graphs")
    with pytest.raises(
        InputError, match=r"^--cuda-graphs: CUDA graphs need a CUDA device, not cpu"
    ):
        check_graphs("cpu", "--cuda-graphs")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_on_cuda(name: str, dtype: torch.dtype) -> None:
    encoder = CASES[name].encoder().to("cuda", dtype)
    graphs = GraphedEncoder(encoder)

    def on_cuda(lengths: list[int]) -> tuple[Tensor, Tensor]:
        features_BTF, lengths_B = random_features(lengths, seed=sum(lengths))
        return features_BTF.cuda(), lengths_B.cuda()

    with torch.inference_mode():
        for lengths in ([500, 90], [500, 500], [480, 5], [1400, 1], [1408, 1408], [512, 300]):
            features_BTF, lengths_B = on_cuda(lengths)
            found, expected = (run(features_BTF, lengths_B) for run in (graphs, encoder))
            assert torch.equal(found.lengths_B, expected.lengths_B)
            for row, length in enumerate(expected.lengths_B.tolist()):
                difference = found.frames_BTD[row, :length] - expected.frames_BTD[row, :length]
                tolerance = 1e-4 if dtype == torch.float32 else 0.1
                deviation = expected.frames_BTD[row, :length].float().std(correction=0)
                assert difference.float().square().mean().sqrt() < tolerance * deviation
    assert graphs.num_replayed == 4
