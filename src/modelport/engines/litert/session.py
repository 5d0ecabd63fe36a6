"""Runs a `.tflite` file with LiteRT's interpreter, through XNNPACK where that can."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from modelport.engines.base import Session
from modelport.engines.files import as_file
from modelport.engines.litert.interface import narrowed, places
from modelport.errors import EngineUnavailableError
from modelport.types import Artifact, Feeds, Outputs


class LiteRtSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        device = artifact.options.get("device", "cpu")
        if device != "cpu":
            raise EngineUnavailableError(
                f"The device {device!r} was asked for, and litert runs on the cpu alone here",
                hint="Leave the device out; on a phone its own runtime chooses among more",
            )
        self._files = ExitStack()
        path = as_file(artifact.files["model"], "model.tflite", self._files)  # mapped, not copied
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads or None)
        self._interpreter.allocate_tensors()
        self._inputs, self._outputs = places(self._interpreter, self.signature)

    def _run(self, feeds: Feeds) -> Outputs:
        for spec, place in zip(self.signature.inputs, self._inputs, strict=True):
            array = narrowed(np.ascontiguousarray(feeds[spec.name]), spec.name)
            self._interpreter.set_tensor(place, array.reshape(feeds[spec.name].shape))
        self._interpreter.invoke()
        return {
            spec.name: self._interpreter.get_tensor(place).astype(spec.dtype, copy=False)
            for spec, place in zip(self.signature.outputs, self._outputs, strict=True)
        }

    def _close(self) -> None:
        del self._interpreter
        self._files.close()
