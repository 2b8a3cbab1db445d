"""How much of a label a linear classifier reads from each layer.

Ridge regression on one-hot targets, by its normal equations: learning keeps one matrix per layer,
however many frames pass. The probe of Shim et al. 2022 is of another kind that its readers do not
tell; this one is ours.

Shape legend: L layers, S samples, D width, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class LinearProbe:
    """One classifier per layer, learnt from the same samples.

    ``ridge`` is the penalty as a share of the mean variance of an input channel.
    """

    def __init__(self, *, num_classes: int, ridge: float = 1e-3) -> None:
        self.num_classes = num_classes
        self.ridge = ridge
        self.num_samples = 0
        self._inputs_LDD: Tensor | None = None
        self._targets_LDC: Tensor | None = None

    def learn(self, x_LSD: Tensor, class_S: Tensor) -> None:
        """Take in samples with their classes, 0 to ``num_classes`` - 1."""
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
        """(L, D + 1, C): the classifiers that fit the samples so far; the last row is the bias."""
        assert self._inputs_LDD is not None, "nothing was learnt"
        assert self._targets_LDC is not None
        diagonal_LD = self._inputs_LDD.diagonal(dim1=1, dim2=2)
        mean_LD = self._inputs_LDD[:, -1] / self.num_samples
        variance_LD = diagonal_LD / self.num_samples - mean_LD.square()
        scale_L1 = variance_LD[:, :-1].mean(-1, keepdim=True).clamp(min=1e-12)
        penalty_LD = (self.ridge * self.num_samples * scale_L1).expand_as(diagonal_LD).clone()
        penalty_LD[:, -1] = 0.0  # the bias is free
        penalised_LDD = self._inputs_LDD + torch.diag_embed(penalty_LD)
        weight_LDC: Tensor = torch.linalg.solve(penalised_LDD, self._targets_LDC)
        return weight_LDC


def num_correct(weight_LDC: Tensor, x_LSD: Tensor, class_S: Tensor) -> Tensor:
    """(L,) how many samples each layer's classifier gets right; ``weight`` from `LinearProbe`."""
    predicted_LS = (_with_one(x_LSD) @ weight_LDC).argmax(-1)
    return (predicted_LS == class_S.to("cpu")).sum(-1)


def _with_one(x_LSD: Tensor) -> Tensor:
    """Samples in float64 on the CPU, with a channel of ones for the bias."""
    return functional.pad(x_LSD.to("cpu", torch.float64), (0, 1), value=1.0)
