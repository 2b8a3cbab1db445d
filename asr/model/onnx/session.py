"""An ONNX graph run by ONNX Runtime.

Shape legend: B batch, N samples, T frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from asr.types import InputError

_FATAL = 4  # whatever else ONNX Runtime has to say comes as an exception


class Session:
    """A loaded graph; tensors in, tensors out, by name. On the CPU."""

    def __init__(
        self, content: bytes, *, where: Path | str, num_threads: int | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        options.log_severity_level = _FATAL
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the errors of ONNX Runtime have no class of their own
            reason = " ".join(str(error).split())
            raise InputError(f"{where}: ONNX Runtime cannot load it ({reason})") from error
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = {one.name: list(one.shape) for one in self._session.get_outputs()}

    @property
    def metadata(self) -> dict[str, str]:
        """What is stored beside the graph."""
        stored: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return stored

    def __call__(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """The named outputs."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        return [torch.from_numpy(one) for one in self._session.run(list(outputs), arrays)]
