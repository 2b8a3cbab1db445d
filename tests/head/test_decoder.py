"""The attention decoder: whole or token by token, and its two ways of cross-attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.head.decoder import AttentionDecoder, position_sinusoids

D, V, G = 12, 9, 3
LENGTHS = torch.tensor([7, 2, 0])


KINDS: list[dict[str, Any]] = [
    {},
    {"groups": [2, 1]},
    {"kind": "hard"},
    {"feedback": True},
    {"kind": "hard", "feedback": True},
]


def make(**changed: Any) -> AttentionDecoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 3, "num_heads": 3, "ffn_dim": 10, **changed}
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_frames", [False, True])
@torch.no_grad()
def test_token_by_token_it_gives_what_it_gives_of_the_whole(
    kind: dict[str, Any], by_frames: bool
) -> None:
    decoder = make(**kind)
    memory = decoder.memory(frames(), LENGTHS, by_frames=by_frames)
    whole_NSV, _ = decoder(transcripts(), memory)

    caches, steps = None, []
    for ids_N in transcripts().T:
        logits_N1V, caches = decoder(ids_N.unsqueeze(1), memory, caches)
        steps.append(logits_N1V)

    assert whole_NSV.isfinite().all()
    torch.testing.assert_close(torch.cat(steps, 1), whole_NSV, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_el_attention_is_multi_head_attention(kind: dict[str, Any]) -> None:
    """With biases, masks, several transcripts of an utterance, and one without frames."""
    decoder = make(**kind).double()
    heads = decoder.memory(frames(), LENGTHS)
    shared = decoder.memory(frames(), LENGTHS, by_frames=True)

    torch.testing.assert_close(decoder(transcripts(), shared)[0], decoder(transcripts(), heads)[0])
    num_leaders = len(kind.get("groups", decoder.layers))
    assert heads.num_bytes == 2 * num_leaders * shared.num_bytes


@torch.no_grad()
def test_an_utterance_is_read_alone_as_in_a_batch_with_its_other_transcripts() -> None:
    decoder = make()
    together_NSV, _ = decoder(transcripts(), decoder.memory(frames(), LENGTHS))

    for row, length in enumerate(LENGTHS.tolist()):
        memory = decoder.memory(frames()[row : row + 1, : max(1, length)], LENGTHS[row : row + 1])
        for place in range(row * G, row * G + G):
            alone_1SV, _ = decoder(transcripts()[place : place + 1], memory)
            torch.testing.assert_close(alone_1SV[0], together_NSV[place], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_follower_takes_its_leaders_map_and_its_context_of_the_frames() -> None:
    """A full layer with its leader's queries and keys, and cross-attention by the leader."""
    decoder = make(num_layers=2, groups=[2])
    layers: list[Any] = list(decoder.layers)
    leader, follower = layers
    memory = decoder.memory(frames(), LENGTHS)
    shared, _ = decoder(transcripts(), memory)
    x_NSD = decoder.embedding(transcripts()) * D**0.5
    x_NSD = x_NSD + position_sinusoids(0, x_NSD)
    visible_SS = torch.ones(5, 5, dtype=torch.bool).tril()
    rows = torch.arange(3).repeat_interleave(G)
    own_NSD = leader.own_norm(x_NSD)
    map_NHSS = leader.own.map(own_NSD, leader.own.keys_values(own_NSD)[0], visible_SS)
    x_NSD = x_NSD + leader.own.merge(map_NHSS @ leader.own.keys_values(own_NSD)[1])
    keys_values = tuple(one[rows] for one in memory.layers[0])
    context_NHSK = leader.cross.context(
        leader.cross_norm(x_NSD), keys_values, memory.is_valid_BT[rows][:, None, None]
    )
    x_NSD = x_NSD + leader.cross.merge(context_NHSK)
    x_NSD = x_NSD + leader.feedforward(x_NSD)
    own_NSD = follower.own_norm(x_NSD)
    x_NSD = x_NSD + follower.own.merge(map_NHSS @ follower.own.project(own_NSD))
    x_NSD = x_NSD + follower.cross.merge(context_NHSK)
    x_NSD = x_NSD + follower.feedforward(x_NSD)

    torch.testing.assert_close(decoder.output(decoder.norm(x_NSD)), shared, atol=1e-5, rtol=1e-5)
    names = {name for name in decoder.state_dict() if name.startswith("layers.1.")}
    assert not any(".query" in name or ".key" in name or "cross.value" in name for name in names)


@torch.no_grad()
def test_groups_of_one_are_no_groups() -> None:
    alone, grouped = make(), make(groups=[1, 1, 1])
    memory = alone.memory(frames(), LENGTHS)

    torch.testing.assert_close(
        alone(transcripts(), memory)[0], grouped(transcripts(), memory)[0], rtol=0, atol=0
    )


@torch.no_grad()
def test_feedback_attends_to_the_mean_of_what_earlier_tokens_became() -> None:
    """One layer: the second token sees the keys of the first, whichever way they came."""
    decoder = make(num_layers=1, feedback=True)
    assert decoder.feedback is not None
    memory = decoder.memory(frames(), LENGTHS)
    layers: list[Any] = list(decoder.layers)
    layer = layers[0]
    x_NSD = decoder.embedding(transcripts()[:, :2]) * D**0.5
    x_NSD = x_NSD + position_sinusoids(0, x_NSD)
    first_N1D, second_N1D = x_NSD[:, :1], x_NSD[:, 1:]
    became_N1D, kept, _ = layer(first_N1D, memory, 0, ())
    assert kept == ()
    share = decoder.feedback.weights_L.softmax(0)
    mixed_N1D = share[0] * first_N1D + share[1] * became_N1D
    values_N1D = layer.own.output(decoder.feedback.value(mixed_N1D))  # the only key has weight one
    second_N1D = second_N1D + values_N1D
    crossed_NHSK = layer.cross.context(
        layer.cross_norm(second_N1D).view(3, G, D),
        memory.layers[0],
        memory.is_valid_BT[:, None, None],
    )
    second_N1D = second_N1D + layer.cross.merge(crossed_NHSK).view_as(second_N1D)
    second_N1D = second_N1D + layer.feedforward(second_N1D)

    found_NSV, _ = decoder(transcripts()[:, :2], memory)

    expected_N1V = decoder.output(decoder.norm(second_N1D))
    torch.testing.assert_close(found_NSV[:, 1:], expected_N1V, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: dict[str, Any]) -> None:
    decoder = make(**kind).train()
    logits_NSV, _ = decoder(transcripts(), decoder.memory(frames(), LENGTHS))

    gradients = torch.autograd.grad(logits_NSV.square().sum(), list(decoder.parameters()))

    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, r"head\.num_heads=5 does not divide the width 12"),
        ({"groups": [2, 2]}, r"head\.groups=\[2, 2\] add up to 4 layers, but head\.num_layers=3"),
        ({"groups": [3], "kind": "hard"}, r"head\.groups=\[3\] and head\.attention=hard: give one"),
        (
            {"groups": [3], "feedback": True},
            r"head\.groups=\[3\] and head\.feedback=true: give one",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        make(**options)

    assert len(str(raised.value).splitlines()) == 1
