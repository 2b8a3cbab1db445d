"""The parts of an encoder that are timed separately, by the names of its submodules."""

from __future__ import annotations

from collections.abc import Iterable

from asr.profiling.attention_steps import STEPS
from asr.profiling.breakdown import ATTENTION, OTHER

NORMS = "norms and residuals"

ENCODER_PARTS = {
    "subsampling": "subsampling",
    "dropout": NORMS,
    "norm": NORMS,
    "layers": NORMS,
    "layers.feedforward": "feed-forward",
    "layers.feedforward_in": "feed-forward",
    "layers.feedforward_out": "feed-forward",
    "layers.convolution": "convolution",
    "layers.attention": ATTENTION,
    "layers.band_feedforward": "feed-forward",
    "layers.band_attention": ATTENTION,
}
"""Part by submodule, without layer numbers. A norm inside a module belongs to the module; the
residual sums, the norms beside them and the dropout between them belong to the layer."""

PART_ORDER = ("subsampling", "feed-forward", "convolution", NORMS, *STEPS, OTHER)
"""The order of the parts in tables and charts."""


def in_order(parts: Iterable[str]) -> list[str]:
    """Sort ``parts`` as in `PART_ORDER`, others at the end."""
    given = dict.fromkeys(parts)
    known = [part for part in PART_ORDER if part in given]
    return [*known, *(part for part in given if part not in PART_ORDER)]
