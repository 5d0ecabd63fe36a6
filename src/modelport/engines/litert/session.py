"""Runs a `.tflite` file with LiteRT's interpreter, through XNNPACK where that can."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from modelport.engines.base import Session
from modelport.engines.files import as_file
from modelport.engines.litert.ports import ports_of
from modelport.types import Artifact, Feeds, Outputs


class LiteRtSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._files = ExitStack()
        path = as_file(artifact.files["model"], "model.tflite", self._files)  # mapped, not copied
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads or None)
        self._interpreter.allocate_tensors()
        self._inputs, self._outputs = ports_of(self._interpreter, artifact)
        self._shapes: list[tuple[int, ...]] | None = None

    def _run(self, feeds: Feeds) -> Outputs:
        if not all(spec.is_static for spec in self.signature.inputs):
            self._fit([feeds[port.spec.name].shape for port in self._inputs])
        for port in self._inputs:
            feed = feeds[port.spec.name]
            array = port.taken(np.ascontiguousarray(feed))
            self._interpreter.set_tensor(port.place, array.reshape(feed.shape))
        self._interpreter.invoke()
        return {
            port.spec.name: port.given(self._interpreter.get_tensor(port.place))
            for port in self._outputs
        }

    def _fit(self, shapes: list[tuple[int, ...]]) -> None:
        """Memory is planned for one set of sizes, and again where others come."""
        if shapes == self._shapes:
            return
        self._shapes = None  # a plan that fails is made again
        for port, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(port.place, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def _close(self) -> None:
        del self._interpreter
        self._files.close()
