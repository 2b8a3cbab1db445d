from __future__ import annotations

import errno
import queue

import pytest
import torch

from asr.train.failures import explain
from tests.train.standin import make_batch


def worker_error() -> RuntimeError:
    error = RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    error.__cause__ = RuntimeError("DataLoader worker (pid 12) is killed by signal: Bus error. It")
    return error


def worker_missed() -> RuntimeError:
    error = RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    error.__cause__ = queue.Empty()
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "out of memory at step 8, 2 utterances of up to 320 samples and 3 tokens (utt-5-0, "
            "utt-5-1); lower data.batching.max_duration_s and raise train.trainer.accumulate",
        ),
        (worker_error(), "data worker 12 was killed (Bus error) behind step 7: where memory"),
        (
            worker_missed(),
            "data worker 12, 13 exited behind step 7: where memory",
        ),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "a data worker was lost behind step 7"),
        (EOFError(), "a data worker was lost behind step 7: where memory"),
        (
            RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection reset by peer"),
            "a process of this training was lost behind step 7 ([gloo",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "metrics.csv"),
            "metrics.csv: No space left on device behind step 7: make room",
        ),
    ],
)
def test_what_happens_to_machines_is_told(error: Exception, words: str) -> None:
    told = explain(error, step=7, batch=make_batch(5, num_utterances=2))
    assert told is not None
    assert str(told).startswith(words)
    assert str(told).endswith("; --resume goes on from the last checkpoint")


@pytest.mark.parametrize("error", [RuntimeError("a defect"), OSError(errno.EIO, "I/O error")])
def test_what_else_happens_is_left_as_it_is(error: Exception) -> None:
    assert explain(error, step=7, batch=None) is None
