"""Measures of attention maps, and a linear probe of each layer, summed over utterances."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from asr.data.manifest import Utterances
from asr.metrics.attention import (
    NO_CLASS,
    StreamingMean,
    best_match,
    diagonality,
    jensen_shannon_similarity,
    same_and_other,
    same_head,
    token_relationship,
    total_variation_similarity,
)
from asr.model.package import ModelPackage
from asr.report.analysis import DiagonalityFound, Probe, Relationship, Similarity


class LinearProbe:
    """A linear classifier per layer, trained on the same samples.

    ``ridge`` is the penalty as a fraction of the mean variance of an input channel.
    """

    def __init__(self, *, num_classes: int, ridge: float = 1e-3) -> None:
        self.num_classes = num_classes
        self.ridge = ridge
        self.num_samples = 0
        self._inputs_LDD: Tensor | None = None
        self._targets_LDC: Tensor | None = None

    def learn(self, x_LSD: Tensor, class_S: Tensor) -> None:
        """Add samples with their classes, 0 to ``num_classes`` - 1."""
        x_LSD = _with_one(x_LSD)
        target_SC = functional.one_hot(class_S, self.num_classes).to("cpu", torch.float64)
        inputs_LDD = x_LSD.transpose(1, 2) @ x_LSD
        targets_LDC = x_LSD.transpose(1, 2) @ target_SC
        self.num_samples += len(class_S)
        self._inputs_LDD = inputs_LDD if self._inputs_LDD is None else self._inputs_LDD + inputs_LDD
        self._targets_LDC = (
            targets_LDC if self._targets_LDC is None else self._targets_LDC + targets_LDC
        )

    def weight(self) -> Tensor:
        """Return (L, D + 1, C): the classifiers fitted so far; the last row is the bias."""
        assert self._inputs_LDD is not None, "nothing was learnt"
        assert self._targets_LDC is not None
        diagonal_LD = self._inputs_LDD.diagonal(dim1=1, dim2=2)
        mean_LD = self._inputs_LDD[:, -1] / self.num_samples
        variance_LD = diagonal_LD / self.num_samples - mean_LD.square()
        scale_L1 = variance_LD[:, :-1].mean(-1, keepdim=True).clamp(min=1e-12)
        penalty_LD = (self.ridge * self.num_samples * scale_L1).expand_as(diagonal_LD).clone()
        penalty_LD[:, -1] = 0.0  # the bias is not penalised
        penalised_LDD = self._inputs_LDD + torch.diag_embed(penalty_LD)
        weight_LDC: Tensor = torch.linalg.solve(penalised_LDD, self._targets_LDC)
        return weight_LDC


def num_correct(weight_LDC: Tensor, x_LSD: Tensor, class_S: Tensor) -> Tensor:
    """Return (L,): how many samples each layer's classifier (`LinearProbe`) gets right."""
    predicted_LS = (_with_one(x_LSD) @ weight_LDC).argmax(-1)
    return (predicted_LS == class_S.to("cpu")).sum(-1)


def _with_one(x_LSD: Tensor) -> Tensor:
    """Return samples in float64 on the CPU, with a channel of ones for the bias."""
    return functional.pad(x_LSD.to("cpu", torch.float64), (0, 1), value=1.0)


@dataclass(frozen=True, slots=True)
class TokenClasses:
    """``token_ids`` in the order of their class; ``pieces`` as the tokenizer writes them."""

    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    vocab_size: int

    def __len__(self) -> int:
        return len(self.token_ids)

    def of_labels(self, labels_T: Tensor) -> Tensor:
        """Return each label's class, ``NO_CLASS`` for blanks, rarer tokens and negative labels."""
        class_V = torch.full((self.vocab_size,), NO_CLASS)
        class_V[list(self.token_ids)] = torch.arange(len(self.token_ids))
        return torch.where(labels_T < 0, NO_CLASS, class_V[labels_T.clamp(min=0)])


def frequent_tokens(
    utterances: Utterances, package: ModelPackage, *, num_tokens: int
) -> TokenClasses:
    """Return the ``num_tokens`` most frequent tokens of the transcripts, sorted by their pieces."""
    tokenizer = package.tokenizer
    counts: Counter[int] = Counter()
    for utterance in utterances:
        counts.update(tokenizer.encode(package.normalizer(utterance.text)))
    del counts[tokenizer.unk_id]
    frequent = [token for token, _ in counts.most_common(num_tokens)]
    by_piece = sorted(zip(tokenizer.pieces(frequent), frequent, strict=True))
    return TokenClasses(
        token_ids=tuple(token for _, token in by_piece),
        pieces=tuple(piece for piece, _ in by_piece),
        vocab_size=tokenizer.vocab_size,
    )


class LayerProbe:
    """A linear probe: first `learn` from every training utterance, then `test` on the others."""

    def __init__(self, *, num_classes: int) -> None:
        self._probe = LinearProbe(num_classes=num_classes)
        self._weight_LDC: Tensor | None = None
        self._correct_L = torch.zeros(0)
        self._class_counts_C = torch.zeros(num_classes, dtype=torch.int64)

    def learn(self, outputs_LTD: Tensor, class_T: Tensor) -> None:
        """Add the frames of an utterance that have a class."""
        assert self._weight_LDC is None, "learning comes before testing"
        kept_T = class_T != NO_CLASS
        if bool(kept_T.any()):
            self._probe.learn(outputs_LTD[:, kept_T], class_T[kept_T])

    def test(self, outputs_LTD: Tensor, class_T: Tensor) -> None:
        """Count the frames of an utterance that each layer's classifier gets right."""
        kept_T = class_T != NO_CLASS
        if not self._probe.num_samples or not bool(kept_T.any()):
            return
        if self._weight_LDC is None:
            self._weight_LDC = self._probe.weight()
            self._correct_L = torch.zeros(len(self._weight_LDC), dtype=torch.int64)
        class_S = class_T[kept_T]
        self._correct_L += num_correct(self._weight_LDC, outputs_LTD[:, kept_T], class_S)
        self._class_counts_C += class_S.bincount(minlength=len(self._class_counts_C))

    def result(self) -> Probe | None:
        """Return the accuracy of every layer; None if nothing was learnt or tested."""
        num_test_frames = int(self._class_counts_C.sum())
        if not num_test_frames:
            return None
        return Probe(
            accuracy=[round(100 * int(n) / num_test_frames, 2) for n in self._correct_L],
            chance=round(100 * int(self._class_counts_C.max()) / num_test_frames, 2),
            num_train_frames=self._probe.num_samples,
            num_test_frames=num_test_frames,
        )


NUM_POINTS = 51
DECIMALS = 5


class AttentionMeasures:
    """Means of the measures over utterances; memory does not grow with their number."""

    def __init__(self, tokens: TokenClasses) -> None:
        self.tokens = tokens
        self._total_variation_LHLH = StreamingMean()
        self._jensen_shannon_LLH = StreamingMean()
        self._area_LH = StreamingMean()
        self._curve_LHR = StreamingMean()
        self._relationship_LHCC = StreamingMean()

    def add(self, probs_LHTT: Tensor, class_T: Tensor) -> None:
        """Add the maps of one utterance without padding, and the class of each frame."""
        self._total_variation_LHLH.add(total_variation_similarity(probs_LHTT))
        self._jensen_shannon_LLH.add(jensen_shannon_similarity(probs_LHTT))
        found = diagonality(probs_LHTT, num_points=NUM_POINTS)
        self._area_LH.add(found.area_LH)
        self._curve_LHR.add(found.curve_LHR)
        if bool((class_T != NO_CLASS).any()):
            sums = token_relationship(
                probs_LHTT, class_T.to(probs_LHTT.device), num_classes=len(self.tokens)
            )
            self._relationship_LHCC.add(sums.total_LHCC, sums.num_frames_CC)

    def similarity_of_layers(self) -> Tensor:
        """Return the Jensen-Shannon similarity (L, L), by heads of the same index."""
        return self._jensen_shannon_LLH.mean.mean(-1)

    def similarity_of_heads(self) -> Tensor:
        """Return the total variation similarity (L, H, L, H) of all heads."""
        return self._total_variation_LHLH.mean

    def similarity(self) -> Similarity:
        """Return the similarity of layers and heads."""
        heads_LHLH = self.similarity_of_heads()
        return Similarity(
            total_variation=rounded(same_head(heads_LHLH).mean(-1)),
            best_match=rounded(best_match(heads_LHLH)),
            total_variation_heads=rounded(heads_LHLH),
            jensen_shannon=rounded(self.similarity_of_layers()),
        )

    def diagonality(self) -> DiagonalityFound:
        """Return how close each head's attention is to the diagonal."""
        return DiagonalityFound(
            area=rounded(self._area_LH.mean),
            curve=rounded(self._curve_LHR.mean),
            range=rounded(torch.linspace(0, 1, NUM_POINTS)),
        )

    def relationship(self) -> Relationship | None:
        """Return how strongly tokens attend to each other; None if nothing could be aligned."""
        if self._relationship_LHCC.is_empty:
            return None
        mean_LHCC = self._relationship_LHCC.mean
        same_LH, other_LH = same_and_other(mean_LHCC, self._relationship_LHCC.count)
        return Relationship(
            tokens=list(self.tokens.pieces),
            layers=rounded(mean_LHCC.mean(1)),
            same=rounded(same_LH),
            other=rounded(other_LH),
        )


def rounded(values: Tensor) -> list:  # type: ignore[type-arg]  # nested as deep as the tensor
    """Convert to nested lists, rounded to `DECIMALS`."""
    return [
        rounded(value) if value.dim() else round(float(value), DECIMALS)
        for value in values.double()
    ]
