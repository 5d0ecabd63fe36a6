"""Runs an MNN model."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from MNN import expr, nn

from modelport.engines.base import Session
from modelport.engines.files import as_file
from modelport.errors import EngineError
from modelport.types import Array, Artifact, Feeds, Outputs, TensorSpec

HIGH, LOW = 1, 2
"""MNN's numbers for arithmetic of 32 bits, and of 16 where the processor has them."""

LITTLE_MEMORY = 2
"""MNN's number for keeping weights in eight bits, and so for sums of integers."""

QUANTIZING, BY_TENSOR = 5, 1
"""MNN's numbers for how it quantizes what goes into a layer, and for one range to a tensor. A range to
each place, its default, took 1.5 times as long, and was not closer on the networks measured."""

KINDS = {
    expr.float: np.float32,
    expr.double: np.float64,
    expr.int: np.int32,
    expr.int64: np.int64,
    expr.uint8: np.uint8,
    expr.int8: np.int8,
}


class MnnSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._runtime = _runtime(str(artifact.options["precision"]), threads)
        names = [[spec.name for spec in s] for s in (self.signature.inputs, self.signature.outputs)]
        with ExitStack() as stack:
            path = as_file(artifact.files["model"], "model.mnn", stack)
            self._module = _loaded(str(path), names, self._runtime)
        self._takes = self._module.get_info()["inputs"]

    def _run(self, feeds: Feeds) -> Outputs:
        wanted = zip(self.signature.inputs, self._takes, strict=True)
        results = self._module.forward([_given(feeds[spec.name], how) for spec, how in wanted])
        if len(results) != len(self.signature.outputs):
            raise EngineError(
                "mnn failed while running: it computes no outputs for "
                + ", ".join(f"{s.name} {list(feeds[s.name].shape)}" for s in self.signature.inputs),
                hint="Choose other sizes, or another engine with --engines",
            )
        given = zip(self.signature.outputs, results, strict=True)
        return {spec.name: _taken(result, spec) for spec, result in given}

    def _close(self) -> None:
        del self._module, self._runtime, self._takes


def _runtime(precision: str, threads: int) -> Any:
    settings = {"backend": 0, "precision": LOW if precision == "fp16" else HIGH, "memory": 0}
    if precision == "int8":
        settings["memory"] = LITTLE_MEMORY
    if threads:
        settings["numThread"] = threads
    made = nn.create_runtime_manager((settings,))
    if precision == "int8":
        made.set_hint(QUANTIZING, BY_TENSOR)
    return made


def _loaded(path: str, names: list[list[str]], runtime: Any) -> Any:
    try:
        return nn.load_module_from_file(path, *names, runtime_manager=runtime)
    except SystemError as error:  # which says only that there was another one
        raise EngineError(
            "mnn failed while loading: it does not know the content of the file as a model",
            hint="Compile it again, with the version of MNN that is installed here",
        ) from error


def _given(array: Array, how: Any) -> Any:
    kind = KINDS[how.dtype]
    if array.dtype.kind in "iu" and array.size and not _fits(array, kind):
        raise EngineError(
            f"mnn computes with {np.dtype(kind).name} here, and {array.dtype} values up to "
            f"{array.max()} and down to {array.min()} were given"
        )
    made = expr.placeholder(list(array.shape), how.data_format, how.dtype)
    made.write(np.ascontiguousarray(array, kind))
    return made


def _fits(array: Array, kind: Any) -> bool:
    if np.dtype(kind).kind == "f" or array.dtype == kind:
        return True
    limits = np.iinfo(kind)
    return bool(limits.min <= array.min() and array.max() <= limits.max)


def _taken(result: Any, spec: TensorSpec) -> Array:
    if result.data_format == expr.NC4HW4:
        result = expr.convert(result, expr.NCHW)
    if not result.size:  # MNN fails to read nothing
        return np.empty(result.shape, dtype=spec.dtype)
    # A copy, for MNN's memory is used again; and its scalars are arrays of one axis at times.
    array = np.array(result.read(), dtype=spec.dtype)
    return array.reshape(()) if not spec.shape and array.size == 1 else array
