"""Projected distances of a layer, kept between calls.

Shape legend: H heads, K head width, D model width, P distances, zero in the middle.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

KEPT_MIB = 4.0
"""Of one layer: at a width of 256 the distances of 80 s of audio at 25 frames a second."""


class KeptDistances:
    """Projects distances again only where more of them are needed than before.

    For weights that no longer change, in inference on a CPU; elsewhere nothing is kept.
    """

    def __init__(self) -> None:
        self._kept_HKP: Tensor | None = None

    def __call__(self, table_PD: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        """``project`` (H, K, P) of the table, or of one that goes further to both sides."""
        is_plain = table_PD.is_cpu and not torch.is_autocast_enabled("cpu")
        if torch.is_grad_enabled() or torch.compiler.is_exporting() or not is_plain:
            return project(table_PD)
        kept_HKP = self._kept_HKP
        if (
            kept_HKP is not None
            and kept_HKP.dtype == table_PD.dtype
            and kept_HKP.shape[-1] >= len(table_PD)
        ):
            return kept_HKP
        r_HKP = project(table_PD)
        if r_HKP.nbytes <= KEPT_MIB * 2**20:
            self._kept_HKP = r_HKP
        return r_HKP
