"""Errors that stop training, explained: what happened, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from asr.errors import RunError, is_out_of_memory
from asr.files import NO_SPACE
from asr.train.finite import first_ids
from asr.train.module import AsrModule
from asr.train.state import RunState
from asr.types import Batch


class OwnErrorFirst(Callback):
    """A callback that shows this process's own error before Lightning kills the process.

    Every five seconds, a thread of Lightning checks the processes started here and kills this one
    if another has died. That is right if this process hangs in a collective. If it already has an
    error of its own, an empty list of processes lets it end by itself.
    """

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Empty the list, unless the user aborts: then Lightning stops the others."""
        if not isinstance(exception, KeyboardInterrupt):
            getattr(trainer.strategy.launcher, "procs", []).clear()


@contextmanager
def explained_errors(state: RunState, module: AsrModule) -> Iterator[None]:
    """Turn errors of the machine into RunError, and an abort into KeyboardInterrupt.

    Lightning calls ``sys.exit`` on Ctrl-C; callers get the KeyboardInterrupt itself.
    """
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except (RuntimeError, MemoryError, OSError, EOFError) as error:
        explained = explain(error, step=state.num_steps, batch=module.batch)
        if explained is None:
            raise
        raise explained from error


_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(?: is killed by signal: ([^.]+))?"
)
_GONE_PROCESS = re.compile(r"gloo|NCCL|Connection (?:closed|reset) by peer")
_GOES_ON = "--resume goes on from the last checkpoint"


def explain(error: BaseException, *, step: int, batch: Batch | None) -> RunError | None:
    """Explain ``error`` after ``step`` steps; None unless the machine caused it.

    ``batch`` is the batch being trained on.
    """
    if is_out_of_memory(error):
        return RunError(
            f"out of memory at step {step + 1}, {describe_batch(batch)}; {REMEDY}; {_GOES_ON}"
        )
    worker = _dead_worker(error)
    if worker:
        return RunError(
            f"{worker} after step {step}: if memory, or shared memory in /dev/shm, ran out, "
            f"lower data.loader.num_workers or set data.dataset.cache_audio=false; {_GOES_ON}"
        )
    if isinstance(error, RuntimeError) and _GONE_PROCESS.search(str(error)):
        reason = str(error).strip().partition("\n")[0]
        return RunError(
            f"a process of this training was lost after step {step} ({reason}): see its last "
            f"output; {_GOES_ON}"
        )
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        where = f"{error.filename}: " if error.filename else ""
        return RunError(f"{where}{error.strerror} after step {step}: make room; {_GOES_ON}")
    return None


def _dead_worker(error: BaseException) -> str | None:
    """Describe what happened to the data worker that ``error`` is about; None if none.

    The cause names the signal that killed the worker, or only that it is missing. A worker that
    dies while it hands over a batch shows as a broken connection.
    """
    if isinstance(error, ConnectionError | EOFError):
        return "a data worker was lost"
    found: str | None = None
    cause: BaseException | None = error
    while isinstance(error, RuntimeError) and cause is not None:
        match = _WORKER.search(str(cause))
        if match and match[2]:
            return f"data worker {match[1]} was killed ({match[2]})"
        if match:
            found = f"data worker {match[1]} exited"
        cause = cause.__cause__ or cause.__context__
    return found


REMEDY = "lower data.batching.max_duration_s and raise train.trainer.accumulate instead"


def describe_batch(batch: Batch | None) -> str:
    """Describe a batch for a message: size and utterances."""
    if batch is None:
        return "before the first batch"
    num_samples = batch.waveforms_BN.shape[1]
    return (
        f"{len(batch)} utterances of up to {num_samples:,} samples and "
        f"{batch.token_ids_BU.shape[1]} tokens ({first_ids(batch.utterance_ids)})"
    )
