"""The transducer head: its predictors, its loss in pieces, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.head.transducer import TransducerHead
from asr.types import Batch, EncoderOutput

D, V = 6, 7
TDT = {"durations": [0, 1, 2], "sigma": 0.05}
LENGTHS, TOKENS = torch.tensor([5, 9, 3]), torch.tensor([2, 4, 0])
IDS = torch.tensor([[1, 1, 0, 0], [3, 2, 6, 5], [0, 0, 0, 0]])


def make(**changed: Any) -> TransducerHead:
    torch.manual_seed(0)
    head = TransducerHead(d_model=D, vocab_size=V, predictor_width=8, joint_dim=5, **changed)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return head


def encoded() -> EncoderOutput:
    frames = torch.randn(3, 9, D, generator=torch.Generator().manual_seed(1))
    return EncoderOutput(frames.requires_grad_(), LENGTHS)


def gradients(head: TransducerHead, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(head.parameters()), allow_unused=False))


@pytest.mark.parametrize("predictor", ["lstm", "stateless"])
def test_token_by_token_a_predictor_gives_what_it_gives_of_the_whole(predictor: str) -> None:
    part = make(predictor=predictor).predictor

    whole_BSP = part(IDS)
    state, steps = part.start(3, torch.device("cpu")), []
    for ids_B in [torch.zeros(3, dtype=torch.int64), *IDS.T]:
        vectors_BP, state = part.step(ids_B, state)
        steps.append(vectors_BP)

    torch.testing.assert_close(torch.stack(steps, 1), whole_BSP)


@pytest.mark.parametrize("options", [{}, TDT, {"ctc_weight": 0.3}, {**TDT, "predictor": "lstm"}])
def test_a_batch_in_pieces_has_the_loss_and_gradient_of_the_whole(options: dict[str, Any]) -> None:
    whole, pieces = make(**options), make(**options, max_lattice_mib=0.0021)
    assert len(list(pieces.pieces(LENGTHS.tolist(), TOKENS.tolist()))) > 1
    assert len(list(whole.pieces(LENGTHS.tolist(), TOKENS.tolist()))) == 1

    expected = whole.loss(encoded(), IDS, TOKENS)
    found = pieces.loss(encoded(), IDS, TOKENS)

    assert found.num_left_out == 0
    torch.testing.assert_close(found.loss, expected.loss)
    for ours, theirs in zip(
        gradients(pieces, found.loss), gradients(whole, expected.loss), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, TDT])
def test_the_loss_is_the_mean_of_utterances_alone(options: dict[str, Any]) -> None:
    head, output = make(**options), encoded()

    alone = [
        head.loss(
            EncoderOutput(output.frames_BTD[row : row + 1, :length], LENGTHS[row : row + 1]),
            IDS[row : row + 1, :number],
            TOKENS[row : row + 1],
        ).loss
        for row, (length, number) in enumerate(zip(LENGTHS.tolist(), TOKENS.tolist(), strict=True))
    ]

    torch.testing.assert_close(head.loss(output, IDS, TOKENS).loss, torch.stack(alone).mean())


def test_ctc_beside_it_has_the_same_reduction() -> None:
    head, output = make(ctc_weight=0.25), encoded()
    log_probs_BTV = head.frame_log_probs(output.frames_BTD)
    ctc_B = torch.nn.functional.ctc_loss(
        log_probs_BTV.transpose(0, 1), IDS, LENGTHS, TOKENS, reduction="none"
    )

    losses_B = head.utterance_losses(head(output.frames_BTD), LENGTHS, IDS, TOKENS)

    expected = (0.75 * losses_B + 0.25 * ctc_B).mean()
    torch.testing.assert_close(head.loss(output, IDS, TOKENS).loss, expected)


def test_half_precision_reaches_the_lattice_in_float32() -> None:
    head = make()
    with torch.autocast("cpu", torch.bfloat16):
        loss = head.loss(encoded(), IDS, TOKENS).loss

    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, head.loss(encoded(), IDS, TOKENS).loss, rtol=0.05, atol=0.05)


def test_omega_takes_the_loss_of_rnnt_in_training_alone() -> None:
    head = make(**TDT, omega=1.0)
    outputs_BTJ = head(encoded().frames_BTD)
    as_rnnt = head.utterance_losses(outputs_BTJ, LENGTHS, IDS, TOKENS, as_rnnt=True).mean()
    as_tdt = head.utterance_losses(outputs_BTJ, LENGTHS, IDS, TOKENS).mean()

    torch.testing.assert_close(head.loss(encoded(), IDS, TOKENS).loss, as_rnnt)
    torch.testing.assert_close(head.eval().loss(encoded(), IDS, TOKENS).loss, as_tdt)
    assert not torch.isclose(as_rnnt, as_tdt)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"durations": [1, 2]}, r"head\.durations=\[1, 2\]: allowed"),
        ({"durations": [0, 1, 1]}, r"head\.durations=\[0, 1, 1\]: allowed"),
        ({"sigma": 0.1}, r"head\.sigma=0\.1 has no effect without head\.durations"),
        ({"omega": 0.1}, r"head\.omega=0\.1 has no effect"),
        ({"predictor": "lstm", "predictor_context": 2}, "predictor_context has no effect"),
        ({"predictor_layers": 2}, "predictor_layers has no effect"),
        ({"ctc_weight": 1.0}, r"head\.ctc_weight=1\.0: allowed"),
        ({"predictor": "none"}, r"head\.predictor='none': allowed"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        make(**options)

    assert len(str(raised.value).splitlines()) == 1


def test_an_utterance_above_the_memory_is_refused_before_it_is_made() -> None:
    head = make(max_lattice_mib=1.0)

    with pytest.raises(InputError, match=r"9,000 frames and 60 tokens needs 14.66 MiB") as raised:
        list(head.pieces([5, 9000], [1, 60]))

    assert len(str(raised.value).splitlines()) == 1


def test_the_bound_of_torchaudio_holds_whatever_the_memory() -> None:
    head = make(max_lattice_mib=1e6)
    lengths, tokens = [10**6] * 4, [99] * 4  # 7e8 logits each

    assert list(head.pieces(lengths, tokens)) == [slice(0, 3), slice(3, 4)]


def test_the_size_of_the_lattice_is_said() -> None:
    batch = Batch(("a", "b", "c"), ("", "", ""), torch.zeros(3, 1), LENGTHS, IDS, TOKENS)

    said = make(max_lattice_mib=0.014).describe_loss(50, batch)

    assert "3 x 50 x 5 x 7, 0.02 MiB" in said
    assert "in 2 pieces of up to 2 utterances" in said


def test_what_needs_ctc_is_refused_without_it() -> None:
    for use in ("asr align", "asr analyze", "distillation", "asr export"):
        with pytest.raises(InputError, match=f"{use} does not serve a model with a transducer"):
            make().check_serves(use)
    make(ctc_weight=0.3).check_serves("distillation")
    with pytest.raises(InputError, match="asr export"):
        make(ctc_weight=0.3).check_serves("asr export")
