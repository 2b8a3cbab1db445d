"""A process that started others says why it ends when it loses one of them."""

from __future__ import annotations

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class LastWords(Callback):
    """Keeps Lightning from killing this process while its error is on the way to the user.

    Every five seconds a thread of Lightning looks through the list of processes that were started
    here, and kills this one if another has died. It is right where this one hangs in a collective.
    Where it has an error of its own already, an empty list lets it end by itself.
    """

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Empty the list, unless an abort of the user is to be handed on to the others."""
        if not isinstance(exception, KeyboardInterrupt):
            getattr(trainer.strategy.launcher, "procs", []).clear()
