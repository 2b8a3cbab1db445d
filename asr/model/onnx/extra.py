"""What the optional extra ``export`` installs."""

from __future__ import annotations

from importlib.util import find_spec

from asr.types import InputError

RUNNING = ("onnxruntime", "onnx")
WRITING = (*RUNNING, "onnxscript")


def check_installed(names: tuple[str, ...], what: str) -> None:
    """Raise InputError where a package is missing that ``what`` needs."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{what} needs {', '.join(missing)}; install it by: pip install 'encore-asr[export]'"
        )
