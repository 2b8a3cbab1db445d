"""The layer-wise probe: learn from some utterances, count on the others.

Shape legend: L layers, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asr.metrics.attention.relationship import NO_CLASS
from asr.metrics.probe import LinearProbe, num_correct
from asr.report.analysis.result import Probe


class LayerProbe:
    """First `learn` from every training utterance, then `test` on the others."""

    def __init__(self, *, num_classes: int) -> None:
        self._probe = LinearProbe(num_classes=num_classes)
        self._weight_LDC: Tensor | None = None
        self._correct_L = torch.zeros(0)
        self._class_counts_C = torch.zeros(num_classes, dtype=torch.int64)

    def learn(self, outputs_LTD: Tensor, class_T: Tensor) -> None:
        """Take in the frames of an utterance that have a class."""
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
        """Accuracy of every layer; None where nothing was learnt or tested."""
        num_test_frames = int(self._class_counts_C.sum())
        if not num_test_frames:
            return None
        return Probe(
            accuracy=[round(100 * int(n) / num_test_frames, 2) for n in self._correct_L],
            chance=round(100 * int(self._class_counts_C.max()) / num_test_frames, 2),
            num_train_frames=self._probe.num_samples,
            num_test_frames=num_test_frames,
        )
