"""What Triton 3.6's interpreter lacks with NumPy 2.4, and for products of bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton.language as tl
import triton.runtime.interpreter as interpreter


def mend() -> None:
    """Loops up to a number that the kernel is given, and products of bfloat16.

    Sums are not watched for overflow, which takes as long as everything else.
    """
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(
        sanitize_overflow=False
    )
    patch_tensor = interpreter._patch_lang_tensor
    product = interpreter.InterpreterBuilder.create_dot

    def patch(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    def create_dot(self: Any, a: Any, b: Any, *args: Any) -> Any:
        return product(self, _as_float32(a), _as_float32(b), *args)

    interpreter._patch_lang_tensor = patch
    interpreter.InterpreterBuilder.create_dot = create_dot


def _as_float32(handle: Any) -> Any:
    """bfloat16 is kept as its 16 bits, the upper half of a float32."""
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    bits = handle.data.astype(np.uint32) << 16
    return interpreter.TensorHandle(bits.view(np.float32), tl.float32)
