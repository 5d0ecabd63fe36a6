"""The runtime of ExecuTorch, as a module of Python."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

QUANTIZED = "*executorch_kernels_quantized.*"


def runtime() -> Any:
    """The extension itself: its public wrapper would import the whole compiler, for seconds.

    With the kernels that quantize between parts that XNNPACK does not take.
    """
    import torch  # its libraries must be there before

    library = importlib.import_module("executorch.extension.pybindings._C")
    kernels = Path(str(library.__file__)).parents[2] / "lib"
    for path in kernels.glob(QUANTIZED):
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    return library
