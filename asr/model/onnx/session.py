"""An ONNX graph run by ONNX Runtime.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from asr.types import InputError

_FATAL = 4  # whatever else ONNX Runtime has to say comes as an exception


class Session:
    """A loaded graph; tensors in, tensors out, by name. On the CPU.

    With ``max_mib`` the graph is a stranger's: constants are computed when it runs, not while it
    is loaded, and all arrays together take no more memory. The first session of a process that
    has such a bound sets it for the others.
    """

    def __init__(
        self,
        content: bytes,
        *,
        where: Path | str,
        num_threads: int | None = None,
        max_mib: float | None = None,
    ) -> None:
        self.where = where
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        options.log_severity_level = _FATAL
        if max_mib is not None:
            _bound_memory(max_mib)
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                content,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=None if max_mib is None else ["ConstantFolding"],
            )
        except Exception as error:  # the errors of ONNX Runtime have no class of their own
            raise self._error("ONNX Runtime cannot load it", error) from error
        self.inputs = {one.name: (one.type, len(one.shape)) for one in self._session.get_inputs()}
        self.outputs = {one.name: list(one.shape) for one in self._session.get_outputs()}

    @property
    def metadata(self) -> dict[str, str]:
        """What is stored beside the graph."""
        try:
            stored: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise self._error("its metadata is damaged", error) from error
        return stored

    def __call__(
        self, inputs: Mapping[str, Tensor], outputs: Sequence[str], *, limit_s: float | None = None
    ) -> list[Tensor]:
        """The named outputs.

        Raises:
            InputError: the graph does not run on these inputs, or not within ``limit_s``.
        """
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        options = onnxruntime.RunOptions()
        timer = threading.Timer(limit_s or 0.0, setattr, (options, "terminate", True))
        if limit_s is not None:
            timer.daemon = True
            timer.start()
        try:
            found = self._session.run(list(outputs), arrays, options)
            return [torch.from_numpy(one) for one in found]
        except Exception as error:
            if options.terminate:
                raise InputError(
                    f"{self.where}: its graph ran longer than {limit_s:.0f} s"
                ) from None
            raise self._error("its graph cannot be run", error) from error
        finally:
            timer.cancel()

    def _error(self, what: str, error: Exception) -> InputError:
        reason = " ".join(str(error).split())
        return InputError(f"{self.where}: {what} ({reason[:300]})")


_bounds: list[float] = []


def _bound_memory(max_mib: float) -> None:
    """Bound the arrays of all sessions that share ONNX Runtime's allocator; once a process."""
    if not _bounds:
        memory = onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        )
        arena = onnxruntime.OrtArenaCfg({"max_mem": int(max_mib * 2**20)})
        onnxruntime.create_and_register_allocator(memory, arena)
        _bounds.append(max_mib)
