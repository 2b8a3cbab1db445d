"""How long a run lasts, how often it is validated and how often it is saved."""

from __future__ import annotations

from dataclasses import dataclass

from asr.train.state import RunState


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The end of a run, whichever comes first, and the rhythm of validation and of saving.

    None is no limit, or never.
    """

    max_steps: int | None = None
    max_epochs: int | None = None
    max_minutes: float | None = None
    validate_every_steps: int | None = None
    validate_every_epochs: int | None = None
    save_every_steps: int | None = None
    save_every_minutes: float | None = None

    def are_reached(self, state: RunState) -> bool:
        """Whether a run that stands at ``state`` is finished."""
        return self.are_passed(state) or self.is_time_over(state)

    def are_passed(self, state: RunState) -> bool:
        """Whether the steps or the epochs are done: the same on every device."""
        return (self.max_steps is not None and state.num_steps >= self.max_steps) or (
            self.max_epochs is not None and state.num_epochs >= self.max_epochs
        )

    def is_time_over(self, state: RunState) -> bool:
        """Whether the minutes have passed, by the clock of this process."""
        return self.max_minutes is not None and state.train_s >= 60 * self.max_minutes
