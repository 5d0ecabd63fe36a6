"""Runs an engine of TensorRT for RTX on a GPU: feeds go up, outputs come down, one run at a time."""

from __future__ import annotations

import numpy as np
import tensorrt_rtx_bindings as trt

from modelport.engines.base import Session
from modelport.engines.tensorrt_rtx.memory import Gpu
from modelport.engines.tensorrt_rtx.words import WORDS
from modelport.errors import EngineError
from modelport.types import Array, Artifact, Feeds, Outputs, TensorSpec


class TensorRtRtxSession(Session):
    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._demand_version(str(artifact.options.get("version", "")))
        WORDS.clear()
        self._gpu = Gpu(str(artifact.options.get("device", "cuda:0")))
        try:
            self._engine = trt.Runtime(WORDS).deserialize_cuda_engine(
                bytes(artifact.files["model"].view())
            )
            self._context = self._engine and self._engine.create_execution_context()
            if not self._context:
                raise RuntimeError(WORDS.last() or "it does not read the engine")
        except BaseException:
            self._gpu.close()
            raise

    def _run(self, feeds: Feeds) -> Outputs:
        self._gpu.enter()
        for spec in self.signature.inputs:
            self._give(spec, np.ascontiguousarray(feeds[spec.name]))
        outputs = {spec.name: self._take(spec) for spec in self.signature.outputs}
        WORDS.clear()
        if not self._context.execute_async_v3(self._gpu.stream):
            raise RuntimeError(WORDS.last() or "it gave no reason")
        for name, array in outputs.items():
            self._gpu.download(name, array)
        self._gpu.wait()
        return outputs

    def _give(self, spec: TensorSpec, array: Array) -> None:
        self._context.set_input_shape(spec.name, array.shape)
        self._context.set_tensor_address(spec.name, self._gpu.upload(spec.name, array))

    def _take(self, spec: TensorSpec) -> Array:
        """Room for an output, here and on the GPU."""
        shape = tuple(self._context.get_tensor_shape(spec.name))
        if any(size < 0 for size in shape):
            raise EngineError(
                f"The size of the output {spec.name!r} depends on numbers that the model computes",
                hint=f"Choose another engine with --engines: {self.engine} sessions know sizes beforehand",
            )
        array = np.empty(shape, spec.dtype)
        self._context.set_tensor_address(spec.name, self._gpu.room(spec.name, array.nbytes))
        return array

    def _demand_version(self, made_by: str) -> None:
        if made_by != trt.__version__:
            raise EngineError(
                f"{self.engine} failed while loading: the engine is of TensorRT-RTX {made_by}, and "
                f"{trt.__version__} is installed",
                hint="Install that version, or deploy the model again with this one",
            )

    def _close(self) -> None:
        del self._context, self._engine
        self._gpu.close()
