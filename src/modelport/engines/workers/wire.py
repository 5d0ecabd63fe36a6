"""What travels between a worker and its parent: JSON through pipes, arrays through shared memory.

A message is its length in eight bytes and then JSON. Arrays lie in a file that both map, in memory
where the system has a folder for that; a message only says where. Nothing is unpickled.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from modelport import errors
from modelport.types import Array, Artifact, Blob, Dim, Signature, Target, TensorSpec

Message = dict[str, Any]

_LENGTH_BYTES = 8
_ALIGNMENT = 64


def send(pipe: BinaryIO, message: Message) -> None:
    body = json.dumps(message).encode()
    pipe.write(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
    pipe.flush()


def receive(pipe: BinaryIO) -> Message | None:
    """The next message; None where the other side has ended."""
    head = pipe.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "little")
    body = pipe.read(length)
    if len(body) < length:
        return None
    found: Message = json.loads(body)
    return found


class Block:
    """Memory for arrays that one side writes and the other reads; grows by being made anew."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._memory: mmap.mmap | None = None
        self._path: Path | None = None
        self._count = 0

    def put(self, arrays: Mapping[str, Array]) -> Message:
        """Copies the arrays in; the message says what lies where."""
        places, end = [], 0
        for name, array in arrays.items():
            places.append([name, array.dtype.name, list(array.shape), end])
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        memory = self._with_room(end)
        for array, place in zip(arrays.values(), places, strict=True):
            _at(memory, place)[...] = array
        return {"block": str(self._path), "size": len(memory), "places": places}

    def _with_room(self, size: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) < size:
            self._count += 1
            if self._path is not None:
                self._path.unlink(missing_ok=True)
            self._path = self._folder / f"{self._name}-{self._count}"
            with self._path.open("w+b") as file:
                # posix_fallocate would tell of a full disk here and not as a signal at the first write.
                _reserve(file, max(size, _ALIGNMENT))
                self._memory = mmap.mmap(file.fileno(), max(size, _ALIGNMENT))
        return self._memory


def _reserve(file: BinaryIO, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


class View:
    """The reading side of a block."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._path = ""

    def get(self, message: Message) -> dict[str, Array]:
        """The arrays of a message, in the shared memory: whoever keeps them makes copies."""
        if message["block"] != self._path or self._memory is None:
            with open(message["block"], "r+b") as file:
                self._memory = mmap.mmap(file.fileno(), message["size"])
            self._path = message["block"]
        return {place[0]: _at(self._memory, place) for place in message["places"]}


def _at(memory: mmap.mmap, place: list[Any]) -> Array:
    _, dtype, shape, offset = place
    return np.ndarray(shape, np.dtype(dtype), memory, offset)


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for blocks, which only its owner may enter."""
    return tempfile.TemporaryDirectory(prefix="modelport-", dir=memory_root())


def memory_root() -> Path:
    """Where such folders are: in memory where Linux offers that."""
    shared = Path("/dev/shm")  # noqa: S108  (see `memory_folder`)
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    return shared if usable else Path(tempfile.gettempdir())


def signature_to_json(signature: Signature) -> Any:
    return [
        [[spec.name, spec.dtype, [_size_to_json(s) for s in spec.shape]] for spec in specs]
        for specs in (signature.inputs, signature.outputs)
    ]


def _size_to_json(size: int | Dim) -> Any:
    return size if isinstance(size, int) else [size.minimum, size.maximum, size.name, size.step]


def signature_from_json(found: Any) -> Signature:
    inputs, outputs = (
        tuple(
            TensorSpec(name, dtype, tuple(s if isinstance(s, int) else Dim(*s) for s in shape))
            for name, dtype, shape in specs
        )
        for specs in found
    )
    return Signature(inputs, outputs)


def artifact_to_json(artifact: Artifact) -> Message:
    return {
        "engine": artifact.engine,
        "signature": signature_to_json(artifact.signature),
        "files": {
            role: [str(Path(blob.path).absolute()), blob.offset, blob.length]
            for role, blob in artifact.files.items()
        },
        "options": dict(artifact.options),
    }


def artifact_from_json(found: Message) -> Artifact:
    return Artifact(
        engine=found["engine"],
        signature=signature_from_json(found["signature"]),
        files={role: Blob(Path(p), o, n) for role, (p, o, n) in found["files"].items()},
        options=found["options"],
    )


def target_to_json(target: Target) -> Message:
    return asdict(target)


def target_from_json(found: Message) -> Target:
    return Target(**found)


def error_to_json(error: BaseException) -> Message:
    if isinstance(error, errors.ModelportError):
        return {
            "kind": type(error).__name__,
            "seen": error.seen,
            "expected": error.expected,
            "hint": error.hint,
            "module_path": error.module_path,
            "operators": list(error.operators) if isinstance(error, errors.EngineError) else [],
        }
    return {"kind": "", "seen": f"{type(error).__name__}: {error}" if str(error) else repr(error)}


def error_from_json(found: Message) -> Exception:
    """Our error as it was; a foreign one as a RuntimeError with its name and words."""
    kind = getattr(errors, found["kind"], None) if found["kind"] else None
    if kind is None:
        return RuntimeError(found["seen"])
    told = {name: found[name] for name in ("expected", "hint", "module_path")}
    if issubclass(kind, errors.EngineError):
        told["operators"] = found["operators"]
    made: Exception = kind(found["seen"], **told)
    return made
