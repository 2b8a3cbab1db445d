"""Fused attention computes what explicit attention computes, forward and backward."""

from __future__ import annotations

import pytest
import torch

from asr.encoder.stack import Encoder
from asr.nn import positions as tiling
from asr.nn import relative
from asr.nn.positions import PositionKind
from asr.reuse.none import NoReuse
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind, random_features, tiny_encoder
from tests.equivalence.cases import CASES, REUSING, Case
from tests.pairwise import pairwise

each_encoder = pytest.mark.parametrize("kind", KINDS)
each_position = pytest.mark.parametrize("positions", POSITIONS)
BATCHES = [[19], [30, 30], [30, 3, 12]]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 3)


def pair(kind: EncoderKind, positions: PositionKind) -> tuple[Encoder, Encoder]:
    fused = tiny_encoder(kind, reuse=NoReuse(fused=True), positions=positions)
    explicit = tiny_encoder(kind, reuse=NoReuse(fused=False), positions=positions)
    assert fused.state_dict().keys() == explicit.state_dict().keys()
    return fused, explicit


@pairwise(kind=KINDS, positions=POSITIONS, lengths=BATCHES, grad=[True, False])
def test_outputs(
    kind: EncoderKind, positions: PositionKind, lengths: list[int], grad: bool
) -> None:
    fused, explicit = pair(kind, positions)
    features_BTF, lengths_B = random_features(lengths)

    with torch.set_grad_enabled(grad):
        found, expected = (module(features_BTF, lengths_B) for module in (fused, explicit))

    for row, length in enumerate(found.lengths_B):
        torch.testing.assert_close(
            found.frames_BTD[row, :length],
            expected.frames_BTD[row, :length],
            atol=1e-5,
            rtol=1e-5,
        )


@pairwise(kind=KINDS, positions=POSITIONS)
def test_gradients(kind: EncoderKind, positions: PositionKind) -> None:
    gradients = []
    features_BTF, lengths_B = random_features([30, 3, 12])
    for module in pair(kind, positions):
        output = module.train()(features_BTF, lengths_B)
        loss = sum(
            output.frames_BTD[row, :length].square().sum()
            for row, length in enumerate(output.lengths_B)
        )
        assert isinstance(loss, torch.Tensor)
        gradients.append(torch.autograd.grad(loss, list(module.parameters())))

    names = [name for name, _ in pair(kind, positions)[0].named_parameters()]
    for name, found, expected in zip(names, *gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3, msg=name)


@pairwise(kind=KINDS, positions=POSITIONS)
def test_under_autocast(kind: EncoderKind, positions: PositionKind) -> None:
    """bfloat16 agrees with float32 as far as its eight bits go, in both kernels and both modes."""
    features_BTF, lengths_B = random_features([30, 3, 12])
    modules = pair(kind, positions)
    with torch.no_grad():
        exact = modules[0](features_BTF, lengths_B).frames_BTD

    for module in modules:
        for training in (True, False):
            with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
                output = module(features_BTF, lengths_B)
            for row, length in enumerate(output.lengths_B):
                difference = output.frames_BTD[row, :length].float() - exact[row, :length]
                assert difference.square().mean().sqrt() < 0.1 * exact.std()


@pairwise(case=CASES, positions=POSITIONS, grad=[True, False])
def test_every_method_in_any_tiles_and_in_one(
    monkeypatch: pytest.MonkeyPatch, case: Case, positions: PositionKind, grad: bool
) -> None:
    encoder = case.encoder(positions=positions)
    features_BTF, lengths_B = random_features([61, 3, 40])
    monkeypatch.setattr(relative, "LONG_TILE_ROWS", 5)
    outputs = []
    for tile_rows, long_frames in ((128, 100), (3, 100), (3, 10)):
        monkeypatch.setattr(tiling, "TILE_ROWS", tile_rows)
        monkeypatch.setattr(relative, "LONG_FRAMES", long_frames)
        with torch.set_grad_enabled(grad):
            outputs.append(encoder(features_BTF, lengths_B))

    whole, *tiled = outputs
    for row, length in enumerate(whole.lengths_B):
        for found in tiled:
            torch.testing.assert_close(
                found.frames_BTD[row, :length],
                whole.frames_BTD[row, :length],
                atol=1e-5,
                rtol=1e-5,
            )


@pairwise(case=CASES, positions=POSITIONS)
def test_every_method_under_autocast(case: Case, positions: PositionKind) -> None:
    features_BTF, lengths_B = random_features([30, 3, 12])
    encoder = case.encoder(positions=positions)
    with torch.no_grad():
        exact = encoder(features_BTF, lengths_B).frames_BTD

    for training in (True, False):
        with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
            output = encoder(features_BTF, lengths_B)
        assert output.frames_BTD.dtype == torch.float32
        for row, length in enumerate(output.lengths_B):
            difference = output.frames_BTD[row, :length] - exact[row, :length]
            assert difference.square().mean().sqrt() < 0.1 * exact.std()


@pytest.mark.gpu
@pairwise(case=REUSING, positions=POSITIONS, grad=[True, False])
def test_reuse_on_cuda(
    monkeypatch: pytest.MonkeyPatch, case: Case, positions: PositionKind, grad: bool
) -> None:
    monkeypatch.setattr(tiling, "TILE_ROWS", 128)
    features_BTF, lengths_B = random_features([1030, 343])
    encoder = case.encoder(positions=positions)
    with torch.no_grad():
        exact = encoder(features_BTF, lengths_B).frames_BTD
    encoder.cuda()
    with torch.set_grad_enabled(grad):
        output = encoder(features_BTF.cuda(), lengths_B.cuda())

    for row, length in enumerate(output.lengths_B.tolist()):
        difference = output.frames_BTD[row, :length].cpu() - exact[row, :length]
        assert difference.square().mean().sqrt() < 1e-3 * exact.std()
    if grad:
        torch.autograd.backward(output.frames_BTD.sum())
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.gpu
@pairwise(
    kind=KINDS,
    positions=POSITIONS,
    num_frames=[1, 4, 29, 516, 1030],
    dtype=[torch.float32, torch.bfloat16, torch.float16],
)
def test_on_cuda(
    monkeypatch: pytest.MonkeyPatch,
    kind: EncoderKind,
    positions: PositionKind,
    num_frames: int,
    dtype: torch.dtype,
) -> None:
    """Fused CUDA kernels choose themselves by shape, stride and type of the bias: none may differ.

    The float32 path on the CPU is the reference; both modes, padded and not.
    """
    monkeypatch.setattr(tiling, "TILE_ROWS", 128)
    lengths = [num_frames, max(1, num_frames // 3)]
    features_BTF, lengths_B = random_features(lengths)
    with torch.no_grad():
        exact = tiny_encoder(kind, positions=positions)(features_BTF, lengths_B).frames_BTD
    features_BTF, lengths_B = features_BTF.cuda(), lengths_B.cuda()
    tolerance = 1e-3 if dtype == torch.float32 else 0.1

    for module in pair(kind, positions):
        module.cuda()
        for grad in (True, False):
            with (
                torch.set_grad_enabled(grad),
                torch.autocast("cuda", dtype, enabled=dtype != torch.float32),
            ):
                output = module(features_BTF, lengths_B)
            for row, length in enumerate(output.lengths_B.tolist()):
                difference = output.frames_BTD[row, :length].float().cpu() - exact[row, :length]
                assert difference.square().mean().sqrt() < tolerance * exact.std()


@pytest.mark.gpu
@pairwise(case=CASES, positions=POSITIONS, dtype=[torch.float32, torch.bfloat16])
def test_every_method_on_cuda(
    monkeypatch: pytest.MonkeyPatch, case: Case, positions: PositionKind, dtype: torch.dtype
) -> None:
    """The float32 path on the CPU is the reference; both modes, in a padded batch."""
    monkeypatch.setattr(tiling, "TILE_ROWS", 128)
    features_BTF, lengths_B = random_features([1030, 343])
    encoder = case.encoder(positions=positions)
    with torch.no_grad():
        exact = encoder(features_BTF, lengths_B).frames_BTD
    encoder.cuda()
    tolerance = 1e-3 if dtype == torch.float32 else 0.1

    for grad in (True, False):
        with (
            torch.set_grad_enabled(grad),
            torch.autocast("cuda", dtype, enabled=dtype != torch.float32),
        ):
            output = encoder(features_BTF.cuda(), lengths_B.cuda())
        for row, length in enumerate(output.lengths_B.tolist()):
            difference = output.frames_BTD[row, :length].float().cpu() - exact[row, :length]
            assert difference.square().mean().sqrt() < tolerance * exact.std()
