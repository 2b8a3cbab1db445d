from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from asr.decode.align import NO_LABEL, align


def random_log_probs(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, generator=generator)).log_softmax(-1)


def collapse(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != 0]


def best_path(log_probs_TV: Tensor, token_ids: list[int]) -> list[int]:
    """Tries every path."""
    num_frames, vocab_size = log_probs_TV.shape
    paths = [
        path
        for path in itertools.product(range(vocab_size), repeat=num_frames)
        if collapse(path) == token_ids
    ]
    scores = [sum(float(log_probs_TV[t, k]) for t, k in enumerate(path)) for path in paths]
    return list(paths[scores.index(max(scores))])


@pytest.mark.parametrize("token_ids", [[1], [1, 2], [2, 2], [1, 1, 2], []])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_best_of_all_paths(token_ids: list[int], seed: int) -> None:
    log_probs_TV = random_log_probs(5, 3, seed=seed)
    labels_BT = align(
        log_probs_TV.unsqueeze(0),
        torch.tensor([5]),
        torch.tensor([token_ids], dtype=torch.int64),
        torch.tensor([len(token_ids)]),
    )
    assert labels_BT.tolist() == [best_path(log_probs_TV, token_ids)]


def test_a_padded_batch_is_aligned_as_each_utterance_alone() -> None:
    lengths, tokens = [9, 4, 6], [[1, 2, 3], [3, 3], [2]]
    log_probs_BTV = random_log_probs(3, 9, 4)
    token_ids_BU = torch.zeros(3, 3, dtype=torch.int64)
    for row, ids in enumerate(tokens):
        token_ids_BU[row, : len(ids)] = torch.tensor(ids)
    token_lengths_B = torch.tensor([len(ids) for ids in tokens])
    together_BT = align(log_probs_BTV, torch.tensor(lengths), token_ids_BU, token_lengths_B)
    for row, (length, ids) in enumerate(zip(lengths, tokens, strict=True)):
        alone_BT = align(
            log_probs_BTV[row : row + 1, :length],
            torch.tensor([length]),
            torch.tensor([ids]),
            torch.tensor([len(ids)]),
        )
        assert together_BT[row, :length].tolist() == alone_BT[0].tolist()
        assert collapse(tuple(alone_BT[0].tolist())) == ids
        assert (together_BT[row, length:] == NO_LABEL).all()


def test_too_few_frames_have_no_alignment() -> None:
    token_ids_BU = torch.tensor([[1, 1], [1, 2]])  # equal neighbours need a blank between
    labels_BT = align(
        random_log_probs(2, 2, 3), torch.tensor([2, 2]), token_ids_BU, torch.tensor([2, 2])
    )
    assert labels_BT.tolist() == [[NO_LABEL, NO_LABEL], [1, 2]]


def test_it_agrees_with_torchaudio_on_a_long_utterance() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    log_probs_BTV = random_log_probs(1, 120, 20, seed=4)
    token_ids_BU = torch.randint(1, 20, (1, 40), generator=torch.Generator().manual_seed(5))
    ours_BT = align(log_probs_BTV, torch.tensor([120]), token_ids_BU, torch.tensor([40]))
    theirs_BT, _ = functional.forced_align(log_probs_BTV, token_ids_BU.int())
    assert ours_BT.tolist() == theirs_BT.tolist()
