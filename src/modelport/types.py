"""The words that every room shares: tensors, signatures, targets, blobs.

This module imports nothing of ours but the errors, and of other packages only numpy.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from modelport.errors import BundleError, FeedsError, UsageError

Array: TypeAlias = npt.NDArray[Any]
Feeds: TypeAlias = Mapping[str, Array]
"""One array for each input of a signature, by name. The caller owns the buffers."""

Outputs: TypeAlias = dict[str, Array]
"""One array for each output of a signature, by name. The receiver owns the buffers."""

PRECISIONS = ("fp32", "fp16", "bf16", "fp8", "int8")
"""Arithmetic of a variant, from the closest to the source to the furthest."""

QUANTIZED = ("fp8", "int8")
"""Those that calibration finds scales for."""


@dataclass(frozen=True)
class Dim:
    """A dimension that is free within bounds.

    Attributes:
        minimum, maximum: bounds, both included; `maximum=None` means without limit.
        name: dimensions of one name have one size, in every input.
        step: sizes are multiples of it, as a network with strides up to 32 may demand.
    """

    minimum: int = 1
    maximum: int | None = None
    name: str | None = None
    step: int = 1

    def __str__(self) -> str:
        if self.name and self.maximum is None and self.step == 1:
            return self.name
        end = "" if self.maximum is None else self.maximum
        text = f"{self.minimum}..{end}" + (f"/{self.step}" if self.step > 1 else "")
        return f"{self.name}[{text}]" if self.name else text

    @staticmethod
    def parse(text: str) -> int | Dim | None:
        """Reads one size of INPUT_GRAMMAR, and ranges from 0 on; None where it cannot be read."""
        return _read_size(text, least=0)

    def accepts(self, size: int) -> bool:
        inside = size >= self.minimum and (self.maximum is None or size <= self.maximum)
        return inside and size % self.step == 0

    def nearest(self, size: int) -> int:
        """The size closest to that one from below that is accepted, else the smallest."""
        if self.maximum is not None:
            size = min(size, self.maximum)
        smallest = -(-self.minimum // self.step) * self.step
        return max(smallest, size // self.step * self.step)


INPUT_GRAMMAR = (
    "NAME=SHAPE or NAME:DTYPE=SHAPE; a shape is 'scalar' or sizes joined by 'x'; a size is a number "
    "(224), a range (1..16, or 1.. without end), a range in steps (224..640/32) or a named range "
    "(n[1..16]; equal names, equal sizes)"
)


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type (numpy's name for it) and shape of one input or output."""

    name: str
    dtype: str
    shape: tuple[int | Dim, ...]

    def __str__(self) -> str:
        shape = "x".join(str(size) for size in self.shape) or "scalar"
        return f"{self.name}: {self.dtype} {shape}"

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """Reads `name=1..16x3x224x224` or `name:uint8=1x224x224x3`, as INPUT_GRAMMAR says."""
        match = re.fullmatch(r"\s*([\w.]+)(?::(\w+))?\s*=\s*(\S+)\s*", text)
        if match is None or not re.search(r"\d|scalar", match[3]):
            raise UsageError(
                f"The input {text!r} cannot be read",
                expected=INPUT_GRAMMAR,
                hint="Write for example image=1x3x224x224 or image=1..16x3x224x224",
            )
        kind = _element_type(match[2] or "float32")
        if kind is None:
            raise UsageError(
                f"The input {text!r} names the unknown element type {match[2]!r}",
                expected="a numpy name such as float32, uint8 or int64",
            )
        return cls(match[1], kind, tuple(_parse_size(part, text) for part in _sizes(match[3])))

    @property
    def is_static(self) -> bool:
        return all(isinstance(size, int) for size in self.shape)

    def smallest(self) -> tuple[int, ...]:
        """The shape with every free dimension at the least size it accepts."""
        return tuple(size if isinstance(size, int) else size.nearest(0) for size in self.shape)

    def mismatch(self, array: Any) -> str | None:
        """Why the array does not fit, or None where it does."""
        if not isinstance(array, np.ndarray):
            return f"is no array but {type(array).__name__}"
        if array.dtype != self.dtype:
            return f"has element type {array.dtype}"
        if array.ndim != len(self.shape):
            return f"has {array.ndim} dimensions, shape {list(array.shape)}"
        for size, wanted in zip(array.shape, self.shape, strict=True):
            fits = size == wanted if isinstance(wanted, int) else wanted.accepts(size)
            if not fits:
                return f"has shape {list(array.shape)}"
        return None


def _element_type(name: str) -> str | None:
    """numpy's name for it, or None where there is none or its values are no numbers."""
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        return None
    if dtype.hasobject or issubclass(
        dtype.type, (np.void, np.character, np.datetime64, np.timedelta64)
    ):
        return None
    return dtype.name


def _sizes(shape: str) -> list[str]:
    """Parts between the `x` that do not belong to a name."""
    return [] if shape == "scalar" else re.split(r"(?<![A-WYZa-wyz_])x", shape)


_SIZE = re.compile(
    r"(?P<name>[A-Za-z_]\w*\[)?(?P<low>\d+)(?P<range>\.\.)?(?P<high>\d+)?"
    r"(?:/(?P<step>\d+))?(?P<end>\])?"
)


def _parse_size(part: str, text: str) -> int | Dim:
    size = _read_size(part, least=1)
    if size is None:
        raise UsageError(
            f"The size {part!r} in {text!r} cannot be read",
            expected="a positive number, or a range a..b with a <= b that holds a multiple of its "
            "step",
            hint=f"An input is {INPUT_GRAMMAR}",
        )
    return size


def _read_size(part: str, *, least: int) -> int | Dim | None:
    match = _SIZE.fullmatch(part)
    if match is None or bool(match["name"]) != bool(match["end"]):
        return None
    low, step = int(match["low"]), int(match["step"] or 1)
    if not match["range"]:
        return None if match["name"] or match["high"] or match["step"] or low < 1 else low
    high = int(match["high"]) if match["high"] else None
    name = match["name"][:-1] if match["name"] else None
    if step < 1 or low < least or high == 0:
        return None
    dim = Dim(low, high, name, step)
    if not dim.accepts(dim.nearest(low)):
        return None
    return low if high == low and name is None else dim


@dataclass(frozen=True)
class Signature:
    """What a model takes and what it gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def check(self, feeds: Feeds) -> None:
        """Raises FeedsError where the feeds do not fit the inputs."""
        if len(feeds) != len(self.inputs) or any(spec.name not in feeds for spec in self.inputs):
            raise FeedsError(
                f"The feeds are named {sorted(feeds)}",
                expected=f"exactly {sorted(spec.name for spec in self.inputs)}",
            )
        for spec in self.inputs:
            problem = spec.mismatch(feeds[spec.name])
            if problem is not None:
                wanted = "x".join(str(size) for size in spec.shape) or "scalar"
                raise FeedsError(
                    f"The input {spec.name!r} {problem}",
                    expected=f"{spec.dtype} of shape {wanted}",
                    hint=_feeds_hint(spec, feeds[spec.name]),
                )


def _feeds_hint(spec: TensorSpec, array: Any) -> str:
    if not isinstance(array, np.ndarray):
        return f"Make it one with numpy.asarray(value, {spec.dtype!r})"
    if array.dtype != spec.dtype:
        return f"Convert it with array.astype({spec.dtype!r})"
    if array.ndim == len(spec.shape) - 1:
        return "Add the batch dimension with array[None]"
    return (
        "Resize the data, or export the model with that size free, as in --input x=1..16x3x224x224"
    )


@dataclass(frozen=True)
class Target:
    """What a model is compiled for.

    Attributes:
        threads: 0 leaves the number to the engine.
        layout: how tensors lie in memory, one of the engine's `layouts`; empty leaves it to the engine.
    """

    precision: str = "fp32"
    device: str = "cpu"
    threads: int = 0
    layout: str = ""


class Running(TypedDict, total=False):
    """How sessions run; the same words for every engine, and all may be left out.

    Attributes:
        threads: for the engine; 0 leaves the number to it.
        device: a name such as `cpu`, `cuda:0` or `gpu`; None is what the artifact was compiled for.
        isolated: whether a process of its own is used in any case, so that no crash reaches this one.
        memory_bytes: most memory the engine may take, which needs such a process; None for no limit.
        warm_up: runs on zeros before the session is handed out.
    """

    threads: int
    device: str | None
    isolated: bool
    memory_bytes: int | None
    warm_up: int


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def parse_bytes(text: str) -> int:
    """A size such as `800M` or `2G`, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise UsageError(
            f"The size {text!r} cannot be read", expected="a number with K, M or G, such as 800M"
        )
    return size


@dataclass(frozen=True)
class Blob:
    """The bytes of one file, on disk or inside a stored (uncompressed) zip archive.

    `path` with `offset` 0 and no `length` is a whole file; anything else is a slice of one.
    Nothing is read before `view` is called, and then the operating system maps it.
    """

    path: Path
    offset: int = 0
    length: int | None = None

    @property
    def whole_file(self) -> Path | None:
        """The path, where the blob is a file of its own; engines that map files want it."""
        return self.path if self.length is None and self.offset == 0 else None

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size - self.offset if self.length is None else self.length

    def view(self) -> memoryview:
        """Read-only memory map; alive as long as the view is."""
        size = self.size_bytes
        if size == 0:
            return memoryview(b"")
        with open(self.path, "rb") as file:
            end = os.fstat(file.fileno()).st_size
            if self.offset + size > end:
                raise BundleError(
                    f"{self.path} ends at byte {end}",
                    expected=f"at least {self.offset + size} bytes",
                    hint="The file was cut short: copy or build it again",
                )
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return memoryview(mapped)[self.offset : self.offset + size]


@dataclass(frozen=True)
class Artifact:
    """What an engine's compiler wrote and its session reads.

    Attributes:
        files: the engine's own names for its files, such as `model` or `weights`.
        options: engine settings fixed at compile time; JSON values only.
    """

    engine: str
    signature: Signature
    files: Mapping[str, Blob]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.files.values())
