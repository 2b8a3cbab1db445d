"""A Transformer language model over tokens, and its scorer for a beam search.

The model is the attention decoder without frames, so groups of its layers can share attention maps
(Xiao et al. 2019). In a search the prefixes form a tree. A node stores the keys and values of its
last token only; its ancestors store those of earlier tokens.

Shape legend: N rows or nodes, S tokens with a start or an end, U earlier tokens, V vocabulary,
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

_NO_TARGET = -100
_MIN_SLOTS = 1024


@in_ranges("lm")
class TransformerLm(nn.Module):
    """A causal Transformer that predicts the next token (Vaswani et al. 2017).

    Args:
        vocab_size: number of tokens; id 0, the blank, is the start and the end of a sentence.
        num_layers, d_model, num_heads, ffn_dim: sizes.
        dropout: dropout of embeddings, attention maps and modules.
        groups: sizes of layer groups that share an attention map; they add up to ``num_layers``.
            Empty: every layer has its own.

    Raises:
        InputError: a value is outside its range, or sizes do not fit each other.
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
    """See `asr.head.base.Head`."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.decoder.output.out_features

    def forward(self, ids_NU: Tensor, lengths_N: Tensor) -> Tensor:
        """Compute log probabilities (N, S) of the tokens of sentences and of their ends.

        Positions after the end are 0.
        """
        inputs_NS, targets_NS = inputs_and_targets(ids_NU, lengths_N)
        logits_NSV, _ = self.decoder(inputs_NS, None)
        return -functional.cross_entropy(
            logits_NSV.transpose(1, 2), targets_NS, ignore_index=_NO_TARGET, reduction="none"
        )

    def sampled_losses(self, ids_NU: Tensor, lengths_N: Tensor, sampled: SampledSoftmax) -> Tensor:
        """Compute losses (M,) of all tokens and ends, concatenated, by sampled softmax."""
        losses_M: Tensor = sampled(*self.hidden(ids_NU, lengths_N), self.decoder.output)
        return losses_M

    def hidden(self, ids_NU: Tensor, lengths_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output layer's input (M, D) for all tokens and ends, and their ids (M,)."""
        inputs_NS, targets_NS = inputs_and_targets(ids_NU, lengths_N)
        hidden_NSD, _ = self.decoder.hidden(inputs_NS, None)
        has_target_NS = targets_NS != _NO_TARGET
        return hidden_NSD[has_target_NS], targets_NS[has_target_NS]

    def next_tokens(
        self, ids_N: Tensor, caches: list[LayerCache] | None, num_kept_N: Tensor
    ) -> tuple[Tensor, list[LayerCache]]:
        """Return log probabilities (N, V) after ``ids_N``, and the keys and values of ``ids_N``.

        Row n of ``caches`` holds its ``num_kept_N[n]`` earlier tokens, aligned right; a sentence
        begins with `BOUNDARY_ID`.
        """
        logits_N1V, kept = self.decoder(ids_N.unsqueeze(1), None, caches, num_kept_N)
        new = [tuple(one[:, :, -1:] for one in layer) for layer in kept]
        return logits_N1V.squeeze(1).log_softmax(-1), new


def inputs_and_targets(ids_NU: Tensor, lengths_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the model's inputs (N, S) and targets (N, S); there is no target after the end."""
    inputs_NS = functional.pad(ids_NU, (1, 0), value=BOUNDARY_ID)
    positions_S = torch.arange(inputs_NS.shape[1], device=ids_NU.device)
    lengths_N1 = lengths_N.to(ids_NU.device).unsqueeze(1)
    targets_NS = functional.pad(ids_NU, (0, 1), value=BOUNDARY_ID)
    targets_NS = targets_NS.masked_fill(positions_S == lengths_N1, BOUNDARY_ID)
    return inputs_NS, targets_NS.masked_fill(positions_S > lengths_N1, _NO_TARGET)


class NeuralScorer:
    """A `TokenScorer`: ``weight`` times the log probability, plus ``bonus`` per word.

    A state is ``node * V + token``: the prefix of a node, and one more token. It is evaluated when
    its scores are first needed, so prefixes that a beam drops cost nothing.
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
        """Return a scorer with its own cache of prefixes."""
        mine = copy(self)
        mine._nodes = _Nodes(self.model)
        return mine

    def advance(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `TokenScorer`; ``states`` are all prefixes that the search still uses."""
        nodes = self._nodes_of(states)
        vocab_size = self.model.vocab_size
        shape = (states + tokens).shape
        nodes, tokens = nodes.expand(shape), tokens.expand(shape)
        scores = self.weight * self._nodes.log_probs_PV[nodes, tokens].double()
        scores = scores + self._bonus_V.to(tokens.device)[tokens]
        return scores, nodes * vocab_size + tokens

    def finish(self, states: Tensor) -> Tensor:
        """Return the scores of ending in these states."""
        nodes = self._nodes_of(states)  # before log_probs_PV: it may be replaced by a larger one
        return self.weight * self._nodes.log_probs_PV[nodes, BOUNDARY_ID].double()

    def _nodes_of(self, states: Tensor) -> Tensor:
        """Return the node of every state, evaluating new ones."""
        unique, inverse = torch.unique(states, return_inverse=True)
        with torch.inference_mode():
            return self._nodes.of(unique)[inverse]


class _Nodes:
    """The prefixes that a search has evaluated, one per slot.

    Slots of prefixes that the search has dropped are reused.
    """

    def __init__(self, model: TransformerLm) -> None:
        self._model = model
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self._kept: list[tuple[Tensor, ...]] = []  # keys and values (P, H, K) of every layer
        self._ancestors: list[tuple[int, ...]] = []  # of every slot, from the first token on
        self.log_probs_PV = torch.zeros(0, model.vocab_size)

    def of(self, states_N: Tensor) -> Tensor:
        """Return the slots (N,) of distinct states, which are all that the search still uses."""
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
        parents = [() if is_root else self._path(state // vocab_size) for state in states]
        longest = max(map(len, parents))
        tokens_N = torch.tensor([state % vocab_size for state in states], device=device)
        caches: list[LayerCache] | None = None
        if longest:
            rows_NU = torch.tensor(
                [(0,) * (longest - len(path)) + path for path in parents], device=device
            )
            caches = [
                tuple(one_PHK[rows_NU].transpose(1, 2) for one_PHK in layer) for layer in self._kept
            ]
        num_kept_N = torch.tensor([len(path) for path in parents], device=device)
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
        for state, slot, path in zip(states, slots, parents, strict=True):
            self._slot_of[state] = slot
            self._ancestors[slot] = path

    def _path(self, slot: int) -> tuple[int, ...]:
        """Return the slots of a prefix, token by token."""
        return (*self._ancestors[slot], slot)

    def _make_room(self, states: Sequence[int], wanted: int) -> None:
        """Free the slots of prefixes that are no longer used, or add slots."""
        if not self._ancestors or len(self._free) >= wanted:
            return
        vocab_size = self._model.vocab_size
        held: set[int] = set()
        for state in states:
            held.update(self._path(state // vocab_size))
            if state in self._slot_of:
                held.add(self._slot_of[state])
        self._slot_of = {state: slot for state, slot in self._slot_of.items() if slot in held}
        self._free = [slot for slot in range(len(self._ancestors)) if slot not in held]
        if len(self._free) < max(wanted, len(self._ancestors) // 2):
            new = [tuple(one[:1].unsqueeze(2) for one in layer) for layer in self._kept]
            self._grow(new, self.log_probs_PV[:1], max(wanted, len(self._ancestors)))

    def _grow(self, like: Sequence[LayerCache], log_probs_NV: Tensor, number: int) -> None:
        """Add ``number`` slots, with tensors shaped ``like`` (N, H, 1, K)."""
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
