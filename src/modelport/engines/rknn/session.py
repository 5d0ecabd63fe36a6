"""Runs a model in the toolkit's simulator of the NPU."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from modelport.engines.base import Session
from modelport.engines.files import as_file, as_folder
from modelport.engines.rknn.convert import built_again
from modelport.engines.rknn.toolkit import Toolkit, inside
from modelport.types import Array, Artifact, Feeds, Outputs, TensorSpec


class RknnSession(Session):
    """The simulator has no setting for threads."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.signature, artifact.engine)
        with ExitStack() as stack:
            _demand_whole(artifact, stack)
            folder = as_folder(artifact, stack)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelport-")))
            stack.enter_context(inside(scratch))
            self._toolkit = _built(artifact, folder)
            self._toolkit.do("loading", self._toolkit.model.init_runtime)

    def _run(self, feeds: Feeds) -> Outputs:
        inputs = [np.array(feeds[spec.name]) for spec in self.signature.inputs]
        layouts = ["nchw"] * len(inputs)  # as the model has them: nothing is to be transposed
        results: list[Array] = []

        def infer() -> int:
            found = self._toolkit.model.inference(inputs=inputs, data_format=layouts)
            results.extend(found or ())
            return 0 if results else -1

        self._toolkit.do("running", infer)
        return {
            spec.name: _promised(result, spec)
            for spec, result in zip(self.signature.outputs, results, strict=True)
        }

    def _close(self) -> None:
        self._toolkit.close()


def _demand_whole(artifact: Artifact, stack: ExitStack) -> None:
    """What the board would be given is read too, although the simulator does not run it."""
    path = as_file(artifact.files["model"], "model.rknn", stack)
    toolkit = Toolkit(None)
    try:
        toolkit.do("loading", lambda: toolkit.model.load_rknn(str(path)))
    finally:
        toolkit.close()


def _built(artifact: Artifact, folder: Path) -> Toolkit:
    if artifact.options["precision"] == "int8":
        return built_again(folder)
    toolkit = Toolkit(str(artifact.options["platform"]))
    source = str(folder / "simulation.onnx")
    toolkit.do("loading", lambda: toolkit.model.load_onnx(source))
    toolkit.do("loading", lambda: toolkit.model.build(do_quantization=False))
    return toolkit


def _promised(result: Array, spec: TensorSpec) -> Array:
    """The simulator gives a scalar as a vector of one number, and some integers as others."""
    shape = spec.smallest() if spec.is_static else result.shape
    return np.array(result, dtype=spec.dtype).reshape(shape)
