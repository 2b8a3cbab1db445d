"""SVD-softmax (Shim et al. 2017): a large output layer that is exact only for the likely words.

The matrix of an output layer is decomposed once, A = U S V' = B V'. The first columns of B
contribute most to the logits: multiplied by the hidden state in the same coordinates, they give a
preview of all words, and the best words of the preview get exact logits. The normaliser is the sum
over both. The approximation has no error bound: a word that the preview underrates keeps its
preview.

    hidden' = V' hidden                              D D multiply-adds
    logits  = B[:, :W] hidden'[:W] + bias            words W
    best    = the K words of the largest logits
    logits[best] += B[best, W:] hidden'[W:]          K (D - W)

Columns of B are orthogonal, so the distance of all previews from all logits never grows with W.

Shape legend: N hidden states, D width, V words, W preview width, R = D - W, K refined words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.ranges import MAX_VOCABULARY, Range, Width, in_ranges

ROWS = 4096
"""Words processed at a time in the decomposition, which uses double precision."""


@in_ranges("svd_softmax")
@dataclass(frozen=True, slots=True, kw_only=True)
class SvdSoftmax:
    """Which output layers of a model are decomposed, and how.

    Attributes:
        outputs: names of its submodules, all linear.
        preview_width: columns of the decomposition that preview all words; with the whole width
            the logits are exact.
        refined_words: how many of the best words of the preview get exact logits.

    Raises:
        InputError: a value outside its range.
    """

    outputs: Sequence[str]
    preview_width: Width
    refined_words: Annotated[int, Range(1, MAX_VOCABULARY)] = 2048


class SvdLinear(nn.Module):
    """An output layer in decomposed form, for inference: it takes no gradient.

    Raises:
        InputError: a preview wider than the layer, or more refined words than it has.
    """

    def __init__(self, width: int, num_words: int, spec: SvdSoftmax) -> None:
        super().__init__()
        if spec.preview_width > width:
            raise InputError(
                f"svd_softmax.preview_width={spec.preview_width}: allowed: 1 to {width}, the width "
                "of the output layer"
            )
        if spec.refined_words > num_words:
            raise InputError(
                f"svd_softmax.refined_words={spec.refined_words}: allowed: 1 to {num_words:,}, the "
                "words of the output layer"
            )
        self.in_features = width
        self.out_features = num_words
        self.preview_width = spec.preview_width
        self.refined_words = spec.refined_words
        self.basis_DD = _constant(width, width)
        self.preview_VW = _constant(num_words, spec.preview_width)
        self.rest_VR = _constant(num_words, width - spec.preview_width)
        self.bias_V = _constant(num_words)

    @classmethod
    def of(cls, linear: nn.Linear, spec: SvdSoftmax) -> SvdLinear:
        """Return the decomposition of a trained layer."""
        weight_VD = linear.weight.detach()
        num_words, width = weight_VD.shape
        made = cls(width, num_words, spec).to(weight_VD)
        basis_DD = right_singular_vectors(weight_VD)
        turned = (rows_VD.double() @ basis_DD for rows_VD in torch.split(weight_VD, ROWS))
        bias_V = weight_VD.new_zeros(num_words) if linear.bias is None else linear.bias.detach()
        made.fill(basis_DD.t(), torch.cat([one.to(weight_VD) for one in turned]), bias_V)
        return made

    @torch.no_grad()
    def fill(self, basis_DD: Tensor, turned_VD: Tensor, bias_V: Tensor) -> None:
        """Copy V', B and the bias into the layer."""
        self.basis_DD.copy_(basis_DD)
        self.preview_VW.copy_(turned_VD[:, : self.preview_width])
        self.rest_VR.copy_(turned_VD[:, self.preview_width :])
        self.bias_V.copy_(bias_V)

    def first(self, num_words: int) -> SvdLinear:
        """Return the layer for its first words only, sharing memory."""
        spec = SvdSoftmax(
            outputs=(), preview_width=self.preview_width, refined_words=self.refined_words
        )
        with torch.device("meta"):
            made = SvdLinear(self.in_features, num_words, spec)
        made.basis_DD = self.basis_DD
        for name in ("preview_VW", "rest_VR", "bias_V"):
            rows = self.get_parameter(name).detach()[:num_words]
            setattr(made, name, nn.Parameter(rows, requires_grad=False))
        return made

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return logits (..., V) for (..., D), exact for `refined_words` words, else previews."""
        hidden_ND = x.reshape(-1, self.in_features) @ self.basis_DD.t()
        preview_NW = hidden_ND[:, : self.preview_width]
        logits_NV = torch.addmm(self.bias_V, preview_NW, self.preview_VW.t())
        if self.rest_VR.shape[1]:
            best_NK = logits_NV.topk(self.refined_words, sorted=False).indices
            # Row by row, so that the values gathered for one hidden state stay in the cache.
            rest_NR = hidden_ND[:, self.preview_width :]
            for logits_V, best_K, rest_R in zip(logits_NV, best_NK, rest_NR, strict=True):
                logits_V[best_K] += self.rest_VR[best_K] @ rest_R
        logits: Tensor = logits_NV.view(*x.shape[:-1], self.out_features)
        return logits

    def multiply_adds(self) -> int:
        """Return the multiply-adds per hidden state; the original layer has D V."""
        refined = self.refined_words * (self.in_features - self.preview_width)
        return self.in_features**2 + self.out_features * self.preview_width + refined


def right_singular_vectors(weight_VD: Tensor) -> Tensor:
    """Return (D, D) double: right singular vectors as columns, largest singular values first.

    They are the eigenvectors of A'A, which is small for any number of words.
    """
    gram_DD = weight_VD.new_zeros(2 * weight_VD.shape[1:], dtype=torch.float64)
    for rows_VD in torch.split(weight_VD, ROWS):
        rows_VD = rows_VD.double()
        gram_DD.addmm_(rows_VD.t(), rows_VD)
    vectors_DD: Tensor = torch.linalg.eigh(gram_DD).eigenvectors
    return vectors_DD.flip(1)


def decompose_outputs(model: nn.Module, spec: SvdSoftmax) -> None:
    """Replace the output layers of a trained model by their decompositions.

    Raises:
        InputError: see `shape_decompositions`.
    """
    for name in spec.outputs:
        _replace(model, name, SvdLinear.of(_linear(model, name), spec))


def shape_decompositions(model: nn.Module, spec: SvdSoftmax) -> None:
    """Replace the output layers by decompositions whose values are loaded later.

    Raises:
        InputError: the model has no such output layer; or see `SvdLinear`.
    """
    for name in spec.outputs:
        linear = _linear(model, name)
        _replace(model, name, SvdLinear(linear.in_features, linear.out_features, spec))


def _linear(model: nn.Module, name: str) -> nn.Linear:
    try:
        found = model.get_submodule(name)
    except AttributeError:
        found = None
    if not name or not isinstance(found, nn.Linear):
        known = [one for one, module in model.named_modules() if isinstance(module, nn.Linear)]
        raise InputError(f"svd_softmax.outputs: {name!r}; allowed: {', '.join(known[-3:])}")
    return found


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _constant(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape), requires_grad=False)
