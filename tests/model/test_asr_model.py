from __future__ import annotations

import pytest
import torch

from asr.errors import InputError
from asr.train.distillation import Distiller
from asr.types import Batch
from tests.encoder.recording import stand_in
from tests.encoder.tiny import KINDS, POSITIONS, EncoderKind
from tests.model.configs import (
    CONFIG,
    ENCODERS,
    SAMPLE_RATE_HZ,
    VOCAB_SIZE,
    changed,
    random_waveforms,
    tiny_model,
)

REUSES = [
    {"_target_": "asr.reuse.none.NoReuse"},
    {"_target_": "asr.reuse.none.NoReuse", "fused": False},
    {"_target_": "asr.reuse.probs.ReuseProbs", "group_size": 4},
    {"_target_": "asr.reuse.probs.ReuseProbs", "pattern": "LAF"},
]


def make_batch(lengths: list[int], tokens: list[list[int]]) -> Batch:
    waveforms_BN, lengths_B = random_waveforms(lengths)
    width = max(map(len, tokens))
    return Batch(
        utterance_ids=tuple(f"u{row}" for row in range(len(lengths))),
        texts=("",) * len(lengths),
        waveforms_BN=waveforms_BN,
        waveform_lengths_B=lengths_B,
        token_ids_BU=torch.tensor([[*row, *[0] * (width - len(row))] for row in tokens]),
        token_lengths_B=torch.tensor([len(row) for row in tokens]),
    )


@pytest.mark.parametrize("reuse", REUSES, ids=str)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_padded_waveforms_equal_each_alone(
    kind: EncoderKind, positions: str, reuse: dict[str, object]
) -> None:
    config = CONFIG | {"encoder": ENCODERS[kind] | {"positions": positions}, "reuse": reuse}
    model = tiny_model(config)
    lengths = [6000, 3, 2345, 5999, 200]
    waveforms_BN, lengths_B = random_waveforms(lengths)

    with torch.no_grad():
        log_probs_BTV, num_frames_B = model(waveforms_BN, lengths_B)
        for row, length in enumerate(lengths):
            alone_BTV, (num_frames,) = model(
                waveforms_BN[row : row + 1, :length], torch.tensor([length])
            )
            assert num_frames_B[row] == num_frames == alone_BTV.shape[1]
            torch.testing.assert_close(
                log_probs_BTV[row, :num_frames], alone_BTV[0], atol=1e-5, rtol=1e-5
            )


def test_output_is_normalised_float32() -> None:
    model = tiny_model()

    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            log_probs_BTV, _ = model(*random_waveforms([4000, 2000]))
        assert log_probs_BTV.dtype == torch.float32
        assert log_probs_BTV.shape[2] == VOCAB_SIZE
        torch.testing.assert_close(log_probs_BTV.exp().sum(-1), torch.ones(log_probs_BTV.shape[:2]))


def test_one_second_gives_as_many_frames_as_the_frame_shift_says() -> None:
    model = tiny_model()

    _, num_frames_B = model(*random_waveforms([10 * SAMPLE_RATE_HZ]))

    assert num_frames_B.item() == pytest.approx(10 / model.frame_shift_s, abs=1)


def test_loss_is_that_of_the_head_on_the_output() -> None:
    model = tiny_model()
    batch = make_batch([6000, 3000], [[1, 2, 2], [3]])
    log_probs_BTV, num_frames_B = model(batch.waveforms_BN, batch.waveform_lengths_B)
    expected = torch.nn.functional.ctc_loss(
        log_probs_BTV.transpose(0, 1),
        batch.token_ids_BU,
        num_frames_B,
        batch.token_lengths_B,
        reduction="none",
    ).mean()

    loss, num_left_out = model.loss(batch)

    assert num_left_out == 0
    torch.testing.assert_close(loss, expected)


def test_loss_with_intermediate_layers() -> None:
    head = CONFIG["head"] | {"intermediate_layers": [0, 2], "intermediate_weight": 0.3}
    model, batch = tiny_model(changed("head", head)), make_batch([6000, 3000], [[1, 2, 2], [3]])
    features_BTF, lengths_B = model.frontend(batch.waveforms_BN, batch.waveform_lengths_B)
    encoded = model.encoder(features_BTF, lengths_B, (0, 2))

    loss, _ = model.loss(batch)

    assert len(encoded.intermediate) == 2
    expected = model.head.loss(encoded, batch.token_ids_BU, batch.token_lengths_B).loss
    torch.testing.assert_close(loss, expected)


def test_too_short_utterances_are_counted_and_do_not_harm_the_rest() -> None:
    model = tiny_model().train()
    batch = make_batch([6000, 300], [[1, 2], [1, 2, 3, 4, 5, 6]])

    loss, num_left_out = model.loss(batch)
    torch.autograd.backward(loss)

    assert num_left_out == 1
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_training_under_autocast() -> None:
    model, batch = tiny_model().train(), make_batch([6000, 3000], [[1, 2, 2], [3]])

    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.loss(batch)
    torch.autograd.backward(loss)

    assert loss.dtype == torch.float32
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name


def test_augmentation_is_for_training_only() -> None:
    model = tiny_model(
        changed("encoder", ENCODERS["transformer"] | {"dropout": 0.0})
        | {"head": {"_target_": "asr.head.ctc.CtcHead", "dropout": 0.0}}
    )
    waveforms = random_waveforms([6000])
    torch.manual_seed(0)

    assert torch.equal(model(*waveforms)[0], model(*waveforms)[0])
    model.train()
    assert not torch.equal(model(*waveforms)[0], model(*waveforms)[0])


def test_recordings_take_the_place_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    model = tiny_model(CONFIG)
    waveforms_BN, lengths_B = random_waveforms([6000, 2345])
    with torch.inference_mode():
        expected = model(waveforms_BN, lengths_B)
        graphs = model.use_cuda_graphs()
        for num_replayed in (0, 1, 2):
            found = model(waveforms_BN, lengths_B)
            assert graphs.num_replayed == num_replayed
            assert torch.equal(found[1], expected[1])
            for row, length in enumerate(expected[1]):
                torch.testing.assert_close(
                    found[0][row, :length], expected[0][row, :length], atol=1e-5, rtol=1e-5
                )


@pytest.mark.parametrize("reuse", REUSES[1:3], ids=str)
def test_consistency_composes_with_intermediate_layers_reuse_and_a_teacher(
    reuse: dict[str, object],
) -> None:
    batch = make_batch([6000, 4000, 700], [[1, 2], [3], [4, 4, 4, 4, 4, 4]])
    head = {"intermediate_layers": [1], "intermediate_weight": 0.3}
    config = CONFIG | {"reuse": reuse, "head": CONFIG["head"] | head | {"consistency_weight": 0.5}}
    model = tiny_model(config).train()
    sizes: list[int] = []
    model.encoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    result = model.loss(batch)
    assert result.num_left_out == 1
    torch.autograd.backward([result.loss])
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in model.encoder.layers.parameters()
    )
    teacher = Distiller(tiny_model(CONFIG), weight=0.5, temperature=1.0)
    assert teacher.loss(model, batch).num_left_out == 1
    assert teacher.loss(model, batch).loss > 0
    model.eval().loss(batch)
    assert sizes == [6, 6, 6, 3]


def test_consistency_needs_masks() -> None:
    features = {name: part for name, part in CONFIG["features"].items() if name != "specaugment"}
    head = CONFIG["head"] | {"consistency_weight": 0.2}
    with pytest.raises(InputError, match=r"head\.consistency_weight=0\.2 compares two draws"):
        tiny_model(CONFIG | {"features": features, "head": head})
