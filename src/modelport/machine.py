"""What this machine and its software are, for the record in a manifest."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TOOLS = (
    "torch",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "nncf",
    "numpy",
    "pillow",
)


def describe_machine() -> dict[str, str]:
    """Processor, cores and system; nothing that names the machine or its owner."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count() or 0),
        "architecture": platform.machine(),
        "system": platform.system(),
    }


def versions(tools: Iterable[str] = _TOOLS) -> dict[str, str]:
    """Versions of what is installed, ours and Python's first."""
    from modelport import __version__

    found = {"modelport": __version__, "python": platform.python_version()}
    for tool in tools:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's own name; Linux keeps it in a file, other systems tell platform."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
