"""What engines for NVIDIA's GPUs share: how a device is spelled, which sizes are built for, what is here."""

from __future__ import annotations

import ctypes
import math
import re
from dataclasses import dataclass
from functools import cache

from modelport.errors import EngineError, UsageError
from modelport.types import Dim, Signature, TensorSpec

DEVICE_GRAMMAR = (
    "parts joined by commas: cuda:0 (a GPU of this machine), sm89 or sm86+sm89 (compute capabilities), "
    "workspace=1024 (most MiB that a layer may use while it runs)"
)


@dataclass(frozen=True)
class GpuTarget:
    """What `Target.device` says; `cpu`, which stands there where nobody said anything, says nothing.

    Attributes:
        index: which GPU of this machine; None where any will do.
        capabilities: compute capabilities such as 89; empty for whatever the engine's own default is.
        workspace_mib: None for no limit.
    """

    index: int | None = None
    capabilities: tuple[int, ...] = ()
    workspace_mib: int | None = None

    @classmethod
    def parse(cls, text: str) -> GpuTarget:
        """Raises UsageError for what is not of DEVICE_GRAMMAR."""
        index: int | None = None
        workspace: int | None = None
        capabilities: tuple[int, ...] = ()
        for part in text.replace(" ", "").lower().split(","):
            if found := re.fullmatch(r"(?:cuda|gpu)(?::(\d+))?", part):
                index = int(found[1] or 0)
            elif re.fullmatch(r"sm\d+(\+sm\d+)*", part):
                capabilities = tuple(int(each[2:]) for each in part.split("+"))
            elif found := re.fullmatch(r"workspace=(\d+)", part):
                workspace = int(found[1])
            elif part not in ("", "cpu"):
                raise UsageError(
                    f"The device {text!r} cannot be read, because of {part!r}",
                    expected=DEVICE_GRAMMAR,
                )
        return cls(index, capabilities, workspace)


@dataclass(frozen=True)
class Profile:
    """Shapes of one input that an engine is built for, tuned for the typical one."""

    name: str
    smallest: tuple[int, ...]
    typical: tuple[int, ...]
    largest: tuple[int, ...]


def profiles(signature: Signature, engine: str) -> list[Profile]:
    """One for each input with free sizes.

    Raises:
        EngineError: where a size has no upper bound.
    """
    return [_profile(spec, engine) for spec in signature.inputs if not spec.is_static]


def _profile(spec: TensorSpec, engine: str) -> Profile:
    for size in spec.shape:
        if isinstance(size, Dim) and size.maximum is None:
            raise EngineError(
                f"{engine} builds for sizes between bounds, and {spec} has one without an upper bound",
                hint=f"Say what is the most, as in --input {spec.name}=1..16x3x224x224",
            )
    return Profile(
        spec.name,
        spec.smallest(),
        tuple(s if isinstance(s, int) else _typical(s) for s in spec.shape),
        tuple(s if isinstance(s, int) else s.nearest(s.maximum or 1) for s in spec.shape),
    )


def _typical(size: Dim) -> int:
    """The geometric middle: as many times the smallest as the largest is times it."""
    low, high = size.nearest(0), size.nearest(size.maximum or 1)
    return size.nearest(round(math.sqrt(max(low, 1) * high)))


@cache
def driver() -> ctypes.CDLL | None:
    """NVIDIA's driver, started; None where there is none, or no GPU for it."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            library = ctypes.CDLL(name)
            count = ctypes.c_int(0)
            if library.cuInit(0) == 0 and library.cuDeviceGetCount(ctypes.byref(count)) == 0:
                return library if count.value else None
        except (OSError, AttributeError):
            continue
    return None
