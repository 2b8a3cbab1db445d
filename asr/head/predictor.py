"""Predictors of a transducer: the tokens emitted so far, as a vector for the joint network.

Shape legend: B batch, U tokens, S = U + 1 states, P predictor width, V vocabulary, C context,
L layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

START_ID = 0
"""Start of an utterance. It is the blank's id, which is no token of a transcript."""

State = tuple[Tensor, ...]
"""A predictor's state: tensors with the batch first."""


class Predictor(nn.Module, ABC):
    """A network from tokens to vectors of ``width``, for whole transcripts or token by token."""

    width: int

    @abstractmethod
    def forward(self, token_ids_BU: Tensor) -> Tensor:
        """Return the vectors (B, S, P) before each token and after the last."""

    @abstractmethod
    def start(self, num_utterances: int, device: torch.device) -> State:
        """Return the state before the first token."""

    @abstractmethod
    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Append one token to each row; return the next vector (B, P) and the new state."""


class LstmPredictor(Predictor):
    """An embedding and an LSTM over the whole transcript (Graves 2012)."""

    def __init__(self, *, vocab_size: int, width: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, width, num_layers, batch_first=True)

    def forward(self, token_ids_BU: Tensor) -> Tensor:
        """See `Predictor`."""
        ids_BS = functional.pad(token_ids_BU, (1, 0), value=START_ID)
        vectors_BSP, _ = self.lstm(self.dropout(self.embedding(ids_BS)))
        dropped_BSP: Tensor = self.dropout(vectors_BSP)
        return dropped_BSP

    def start(self, num_utterances: int, device: torch.device) -> State:
        """Return hidden and cell states of zeros."""
        shape = num_utterances, self.lstm.num_layers, self.width
        dtype = self.embedding.weight.dtype
        return torch.zeros(shape, device=device, dtype=dtype), torch.zeros(
            shape, device=device, dtype=dtype
        )

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Predictor`."""
        hidden_LBP, cell_LBP = (one.transpose(0, 1).contiguous() for one in state)
        vectors_B1P, (hidden_LBP, cell_LBP) = self.lstm(
            self.embedding(ids_B).unsqueeze(1), (hidden_LBP, cell_LBP)
        )
        return vectors_B1P.squeeze(1), (hidden_LBP.transpose(0, 1), cell_LBP.transpose(0, 1))


class StatelessPredictor(Predictor):
    """An embedding and a convolution over the last ``context`` tokens (Ghodsi et al. 2020)."""

    def __init__(self, *, vocab_size: int, width: int, context: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.context = context
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Conv1d(width, width, context, groups=width // 4 if width % 4 == 0 else 1)

    def forward(self, token_ids_BU: Tensor) -> Tensor:
        """See `Predictor`."""
        return self._vectors(functional.pad(token_ids_BU, (self.context, 0), value=START_ID))

    def start(self, num_utterances: int, device: torch.device) -> State:
        """Return a context filled with the start of the utterance."""
        return (torch.full((num_utterances, self.context), START_ID, device=device),)

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Predictor`."""
        ids_BC = torch.cat([state[0][:, 1:], ids_B.unsqueeze(1)], 1)
        return self._vectors(ids_BC).squeeze(1), (ids_BC,)

    def _vectors(self, ids_BU: Tensor) -> Tensor:
        embedded_BPU = self.dropout(self.embedding(ids_BU)).transpose(1, 2)
        vectors_BSP: Tensor = self.mix(embedded_BPU).relu().transpose(1, 2)
        return vectors_BSP
