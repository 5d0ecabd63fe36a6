"""Runs an OpenVINO artifact."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache

import numpy as np
import openvino as ov

from modelport.engines.base import Session
from modelport.engines.libraries import operator_libraries
from modelport.types import Array, Artifact, Feeds, Outputs


@cache
def core() -> ov.Core:
    return ov.Core()


def with_extensions(libraries: Sequence[str]) -> ov.Core:
    """A core of its own: an extension cannot be taken out again."""
    made = ov.Core()
    for library in libraries:
        made.add_extension(library)
    return made


def processor_has(capability: str) -> bool:
    """Whether OpenVINO reports that arithmetic, such as `BF16`, for this processor."""
    return capability in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        # OpenVINO keeps pointing into mapped weights, so they live as long as the session does.
        self._weights = _mapped_weights(artifact)
        with ExitStack() as opening:
            libraries = opening.enter_context(operator_libraries(artifact))
            mine = with_extensions(libraries) if libraries else core()
            model = _read(mine, artifact, self._weights)
            self._compiled = mine.compile_model(model, "CPU", _settings(artifact, threads))
            self._libraries = opening.pop_all()
        self._request = self._compiled.create_infer_request()
        inputs = artifact.signature.inputs
        self._alone = inputs[0].name if len(inputs) == 1 else None
        self._outputs = [
            (spec.name, self._compiled.output(index), spec.smallest() if spec.is_static else None)
            for index, spec in enumerate(artifact.signature.outputs)
        ]

    def _run(self, feeds: Feeds) -> Outputs:
        # A lone array takes a shorter way through OpenVINO's Python than a dictionary of one.
        inputs = feeds if self._alone is None else feeds[self._alone]
        results = self._request.infer(inputs, share_inputs=True)
        return {name: _promised(results[port], shape) for name, port, shape in self._outputs}

    def _close(self) -> None:
        del self._request, self._compiled, self._outputs, self._weights
        self._libraries.close()


def _promised(array: Array, shape: tuple[int, ...] | None) -> Array:
    """OpenVINO's low-precision passes turn a vector of one number into a scalar."""
    return array if shape is None or array.shape == shape else array.reshape(shape)


def _mapped_weights(artifact: Artifact) -> Array | None:
    """Weights inside an archive, mapped; None where they are a file, which OpenVINO maps itself.

    OpenVINO insists on writable memory, so the mapping is private: no write would reach the file.
    """
    weights = artifact.files["weights"]
    if weights.whole_file is not None or weights.size_bytes == 0:
        return None
    return np.memmap(
        weights.path, np.uint8, mode="c", offset=weights.offset, shape=(weights.size_bytes,)
    )


def _read(mine: ov.Core, artifact: Artifact, weights: Array | None) -> ov.Model:
    model = artifact.files["model"]
    if model.whole_file is not None:
        return mine.read_model(model.whole_file, artifact.files["weights"].whole_file)
    if weights is None:
        return mine.read_model(bytes(model.view()))
    return mine.read_model(bytes(model.view()), ov.Tensor(weights, shared_memory=True))


def _settings(artifact: Artifact, threads: int) -> dict[str, object]:
    precision = artifact.options.get("inference_precision", "f32")
    if precision == "bf16" and not processor_has("BF16"):
        precision = "f32"  # an int8 bundle built where bf16 exists still runs, only slower
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings
