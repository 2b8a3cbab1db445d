"""The attention decoder: whole or token by token, and its two ways of cross-attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.head.decoder import AttentionDecoder

D, V, G = 12, 9, 3
LENGTHS = torch.tensor([7, 2, 0])


def make(**changed: int) -> AttentionDecoder:
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "num_heads": 3, "ffn_dim": 10, **changed}
    decoder = AttentionDecoder(d_model=D, vocab_size=V, dropout=0.1, **sizes)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return decoder.eval()


def frames() -> Tensor:
    frames_BTD = torch.randn(3, 7, D, generator=torch.Generator().manual_seed(1))
    frames_BTD[1, 2:] = torch.nan  # undefined, and so not read
    return frames_BTD


def transcripts() -> Tensor:
    ids_NS = torch.randint(1, V, (3 * G, 5), generator=torch.Generator().manual_seed(2))
    ids_NS[:, 0] = 0
    return ids_NS


@pytest.mark.parametrize("by_frames", [False, True])
@torch.no_grad()
def test_token_by_token_it_gives_what_it_gives_of_the_whole(by_frames: bool) -> None:
    decoder = make()
    memory = decoder.memory(frames(), LENGTHS, by_frames=by_frames)
    whole_NSV, _ = decoder(transcripts(), memory)

    caches, steps = None, []
    for ids_N in transcripts().T:
        logits_N1V, caches = decoder(ids_N.unsqueeze(1), memory, caches)
        steps.append(logits_N1V)

    assert whole_NSV.isfinite().all()
    torch.testing.assert_close(torch.cat(steps, 1), whole_NSV, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_el_attention_is_multi_head_attention() -> None:
    """With biases, masks, several transcripts of an utterance, and one without frames."""
    decoder = make().double()
    heads = decoder.memory(frames(), LENGTHS)
    shared = decoder.memory(frames(), LENGTHS, by_frames=True)

    torch.testing.assert_close(decoder(transcripts(), shared)[0], decoder(transcripts(), heads)[0])
    assert heads.num_bytes == 2 * len(decoder.layers) * shared.num_bytes


@torch.no_grad()
def test_an_utterance_is_read_alone_as_in_a_batch_with_its_other_transcripts() -> None:
    decoder = make()
    together_NSV, _ = decoder(transcripts(), decoder.memory(frames(), LENGTHS))

    for row, length in enumerate(LENGTHS.tolist()):
        memory = decoder.memory(frames()[row : row + 1, : max(1, length)], LENGTHS[row : row + 1])
        for place in range(row * G, row * G + G):
            alone_1SV, _ = decoder(transcripts()[place : place + 1], memory)
            torch.testing.assert_close(alone_1SV[0], together_NSV[place], atol=1e-5, rtol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"head\.num_heads=5 does not divide the width 12"):
        make(num_heads=5)
