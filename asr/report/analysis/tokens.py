"""The tokens an analysis tells apart: the most frequent ones of the transcripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.manifest import Cuts, transcript
from asr.metrics.attention.relationship import NO_CLASS
from asr.model.package import ModelPackage


@dataclass(frozen=True, slots=True)
class TokenClasses:
    """``token_ids`` in the order of their class; ``pieces`` as the tokenizer writes them."""

    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    vocab_size: int

    def __len__(self) -> int:
        return len(self.token_ids)

    def of_labels(self, labels_T: Tensor) -> Tensor:
        """Class of each label, ``NO_CLASS`` for blanks, rarer tokens and negative labels."""
        class_V = torch.full((self.vocab_size,), NO_CLASS)
        class_V[list(self.token_ids)] = torch.arange(len(self.token_ids))
        return torch.where(labels_T < 0, NO_CLASS, class_V[labels_T.clamp(min=0)])


def frequent_tokens(cuts: Cuts, package: ModelPackage, *, num_tokens: int) -> TokenClasses:
    """At most ``num_tokens`` of the tokens of the transcripts, sorted by how they are written."""
    tokenizer = package.tokenizer
    counts: Counter[int] = Counter()
    for cut in cuts:
        counts.update(tokenizer.encode(package.normalizer(transcript(cut))))
    del counts[tokenizer.unk_id]
    frequent = [token for token, _ in counts.most_common(num_tokens)]
    by_piece = sorted(zip(tokenizer.pieces(frequent), frequent, strict=True))
    return TokenClasses(
        token_ids=tuple(token for _, token in by_piece),
        pieces=tuple(piece for piece, _ in by_piece),
        vocab_size=tokenizer.vocab_size,
    )
