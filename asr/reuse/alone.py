"""Every layer on its own: the schedule of methods that reuse nothing from another layer."""

from __future__ import annotations

from asr.reuse.schedule import LayerRole, Role, Schedule


class EveryLayerAlone:
    """Part of a method whose layers all compute their own attention."""

    def schedule(self, num_layers: int) -> Schedule:
        """ALONE for every layer."""
        return tuple(LayerRole(layer, Role.ALONE) for layer in range(num_layers))

    def heads_reused(self, layer: LayerRole, num_heads: int) -> int:
        """None."""
        return 0
