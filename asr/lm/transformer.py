"""A Transformer language model over tokens, and how a beam search asks it.

The model is the attention decoder without frames, so its layers may share attention maps in groups
(Xiao et al. 2019). In a search every prefix is a node of a tree, and keeps keys and values of its
last token alone; those of earlier tokens are its ancestors'.

Shape legend: N rows or nodes, S tokens with a start or an end, U tokens before, V vocabulary,
H heads, K head width, P slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import InputError
from asr.head.base import BEAM_AT_ONCE
from asr.head.decoder import BOUNDARY_ID, AttentionDecoder
from asr.head.decoder_layer import LayerCache
from asr.lm.sampled_softmax import SampledSoftmax
from asr.ranges import Layers, Range, Share, Width, in_ranges
from asr.text.tokenizer import WORD_START, Tokenizer

_NOTHING = -100
_MIN_SLOTS = 1024


@in_ranges("lm")
class TransformerLm(nn.Module):
    """The probability of the next token (Vaswani et al. 2017), in layers that see earlier ones.

    Args:
        vocab_size: tokens; id 0, the blank, stands for the start and the end of a sentence.
        num_layers, d_model, num_heads, ffn_dim: sizes.
        dropout: of embeddings, maps and modules.
        groups: sizes of layer groups that share an attention map, their sum is ``num_layers``;
            none: every layer has its own.

    Raises:
        InputError: a value outside its range, or sizes that do not fit each other.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        num_layers: Layers,
        d_model: Width,
        num_heads: Annotated[int, Range(1, 512)],
        ffn_dim: Annotated[int, Range(1, 65_536)],
        dropout: Share = 0.1,
        groups: Sequence[Annotated[int, Range(1, 1000)]] = (),
    ) -> None:
        super().__init__()
        try:
            self.decoder = AttentionDecoder(
                d_model=d_model,
                vocab_size=vocab_size,
                num_layers=num_layers,
                num_heads=num_heads,
                ffn_dim=ffn_dim,
                dropout=dropout,
                groups=groups,
                cross_attention=False,
            )
        except InputError as error:
            raise error.moved("head", "lm") from None

    output_layers: ClassVar[Mapping[str, int]] = {"decoder.output": BEAM_AT_ONCE}
    """As those of `asr.head.base.Head`."""

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.decoder.output.out_features

    def forward(self, ids_NU: Tensor, lengths_N: Tensor) -> Tensor:
        """(N, S) log probabilities of the tokens of sentences, and of the end behind each.

        Places behind the end are 0.
        """
        given_NS, wanted_NS = given_and_wanted(ids_NU, lengths_N)
        logits_NSV, _ = self.decoder(given_NS, None)
        return -functional.cross_entropy(
            logits_NSV.transpose(1, 2), wanted_NS, ignore_index=_NOTHING, reduction="none"
        )

    def sampled_losses(self, ids_NU: Tensor, lengths_N: Tensor, sampled: SampledSoftmax) -> Tensor:
        """(M,) losses of all tokens and ends, one after the other, by a part of the vocabulary."""
        losses_M: Tensor = sampled(*self.hidden(ids_NU, lengths_N), self.decoder.output)
        return losses_M

    def hidden(self, ids_NU: Tensor, lengths_N: Tensor) -> tuple[Tensor, Tensor]:
        """(M, D) what the output layer reads for every token and end, and (M,) which they are."""
        given_NS, wanted_NS = given_and_wanted(ids_NU, lengths_N)
        hidden_NSD, _ = self.decoder.hidden(given_NS, None)
        is_wanted_NS = wanted_NS != _NOTHING
        return hidden_NSD[is_wanted_NS], wanted_NS[is_wanted_NS]

    def next_tokens(
        self, ids_N: Tensor, caches: list[LayerCache] | None, num_kept_N: Tensor
    ) -> tuple[Tensor, list[LayerCache]]:
        """(N, V) log probabilities behind ``ids_N``, and what to keep of these tokens alone.

        Row n of ``caches`` holds its ``num_kept_N[n]`` earlier tokens at its end; a sentence begins
        with `BOUNDARY_ID`.
        """
        logits_N1V, kept = self.decoder(ids_N.unsqueeze(1), None, caches, num_kept_N)
        new = [tuple(one[:, :, -1:] for one in layer) for layer in kept]
        return logits_N1V.squeeze(1).log_softmax(-1), new


def given_and_wanted(ids_NU: Tensor, lengths_N: Tensor) -> tuple[Tensor, Tensor]:
    """(N, S) tokens that the model is given, and those behind each; none behind the end."""
    given_NS = functional.pad(ids_NU, (1, 0), value=BOUNDARY_ID)
    places_S = torch.arange(given_NS.shape[1], device=ids_NU.device)
    lengths_N1 = lengths_N.to(ids_NU.device).unsqueeze(1)
    wanted_NS = functional.pad(ids_NU, (0, 1), value=BOUNDARY_ID)
    wanted_NS = wanted_NS.masked_fill(places_S == lengths_N1, BOUNDARY_ID)
    return given_NS, wanted_NS.masked_fill(places_S > lengths_N1, _NOTHING)


class NeuralScorer:
    """Scores tokens by ``weight`` times their log probability, and every word by ``bonus``.

    A state is ``node * V + token``: the prefix of a node, and one more token. What it needs is
    computed when it is asked for the first time, so prefixes that a beam drops cost nothing.
    """

    def __init__(
        self, model: TransformerLm, tokenizer: Tokenizer, *, weight: float, bonus: float
    ) -> None:
        self.model = model
        self.start = BOUNDARY_ID
        self.weight = weight
        begins_V = [piece.startswith(WORD_START) for piece in tokenizer.vocabulary]
        self._bonus_V = bonus * torch.tensor(begins_V, dtype=torch.float64)
        self._nodes = _Nodes(model)

    def for_search(self) -> NeuralScorer:
        """A scorer with room of its own for the prefixes of one search."""
        mine = copy(self)
        mine._nodes = _Nodes(self.model)
        return mine

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `TokenScorer`; ``states`` are all prefixes that the search still holds."""
        nodes = self._found(states)
        vocab_size = self.model.vocab_size
        shape = (states + tokens).shape
        nodes, tokens = nodes.expand(shape), tokens.expand(shape)
        scores = self.weight * self._nodes.log_probs_PV[nodes, tokens].double()
        scores = scores + self._bonus_V.to(tokens.device)[tokens]
        return scores, nodes * vocab_size + tokens

    def finish(self, states: Tensor) -> Tensor:
        """Scores of ending in these states."""
        nodes = self._found(states)  # which may take up new memory
        return self.weight * self._nodes.log_probs_PV[nodes, BOUNDARY_ID].double()

    def _found(self, states: Tensor) -> Tensor:
        """The node of every state."""
        unique, inverse = torch.unique(states, return_inverse=True)
        with torch.inference_mode():
            return self._nodes.of(unique)[inverse]


class _Nodes:
    """The prefixes that a search has asked for; each has a slot.

    Slots of prefixes that the search has dropped are used again.
    """

    def __init__(self, model: TransformerLm) -> None:
        self._model = model
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self._kept: list[tuple[Tensor, ...]] = []  # (P, H, K) of every layer
        self._ancestors: list[tuple[int, ...]] = []  # of every slot, the first token first
        self.log_probs_PV = torch.zeros(0, model.vocab_size)

    def of(self, states_N: Tensor) -> Tensor:
        """(N,) the slots of different states, which are all that the search holds."""
        states = states_N.tolist()
        new = [state for state in states if state not in self._slot_of]
        if new:
            self._make_room(states, len(new))
            self._add(new, states_N.device)
        slots = [self._slot_of[state] for state in states]
        return torch.tensor(slots, device=states_N.device)

    def _add(self, states: Sequence[int], device: torch.device) -> None:
        """Run the model on the last tokens of new states."""
        vocab_size = self._model.vocab_size
        is_root = not self._ancestors
        parents = [() if is_root else self._line(state // vocab_size) for state in states]
        longest = max(map(len, parents))
        tokens_N = torch.tensor([state % vocab_size for state in states], device=device)
        caches: list[LayerCache] | None = None
        if longest:
            rows_NU = torch.tensor(
                [(0,) * (longest - len(line)) + line for line in parents], device=device
            )
            caches = [
                tuple(one_PHK[rows_NU].transpose(1, 2) for one_PHK in layer) for layer in self._kept
            ]
        num_kept_N = torch.tensor([len(line) for line in parents], device=device)
        log_probs_NV, new = self._model.next_tokens(tokens_N, caches, num_kept_N)
        slots = [self._free.pop() if self._free else -1 for _ in states]
        assert -1 not in slots or is_root
        if is_root:
            slots = [0] * len(states)
            self._grow(new, log_probs_NV, _MIN_SLOTS)
            self._free.remove(0)
        at_N = torch.tensor(slots, device=device)
        self.log_probs_PV[at_N] = log_probs_NV
        for layer, added in zip(self._kept, new, strict=True):
            for one_PHK, added_NH1K in zip(layer, added, strict=True):
                one_PHK[at_N] = added_NH1K.squeeze(2)
        for state, slot, line in zip(states, slots, parents, strict=True):
            self._slot_of[state] = slot
            self._ancestors[slot] = line

    def _line(self, slot: int) -> tuple[int, ...]:
        """The slots of a prefix, token by token."""
        return (*self._ancestors[slot], slot)

    def _make_room(self, states: Sequence[int], wanted: int) -> None:
        """Free the slots of prefixes that are no longer held, or make more."""
        if not self._ancestors or len(self._free) >= wanted:
            return
        vocab_size = self._model.vocab_size
        held: set[int] = set()
        for state in states:
            held.update(self._line(state // vocab_size))
            if state in self._slot_of:
                held.add(self._slot_of[state])
        self._slot_of = {state: slot for state, slot in self._slot_of.items() if slot in held}
        self._free = [slot for slot in range(len(self._ancestors)) if slot not in held]
        if len(self._free) < max(wanted, len(self._ancestors) // 2):
            new = [tuple(one[:1].unsqueeze(2) for one in layer) for layer in self._kept]
            self._grow(new, self.log_probs_PV[:1], max(wanted, len(self._ancestors)))

    def _grow(self, like: Sequence[LayerCache], log_probs_NV: Tensor, number: int) -> None:
        """Add ``number`` slots, of tensors ``like`` (N, H, 1, K)."""
        first = len(self._ancestors)
        self._free += range(first + number - 1, first - 1, -1)
        self._ancestors += [()] * number
        more_PV = log_probs_NV.new_zeros(number, log_probs_NV.shape[1])
        self.log_probs_PV = torch.cat([self.log_probs_PV.to(more_PV), more_PV])
        before = self._kept or [tuple(one[:0, :, 0] for one in layer) for layer in like]
        self._kept = [
            tuple(
                torch.cat([kept, one.new_zeros(number, one.shape[1], one.shape[3])])
                for kept, one in zip(layer, added, strict=True)
            )
            for layer, added in zip(before, like, strict=True)
        ]
