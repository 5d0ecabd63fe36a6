"""Runs an OpenVINO artifact."""

from __future__ import annotations

from functools import cache

import openvino as ov

from modelport.engines.base import Session
from modelport.types import Artifact, Feeds, Outputs


@cache
def core() -> ov.Core:
    return ov.Core()


def processor_has(capability: str) -> bool:
    """Whether OpenVINO reports that arithmetic, such as `BF16`, for this processor."""
    return capability in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._compiled = core().compile_model(_read(artifact), "CPU", _settings(artifact, threads))
        self._request = self._compiled.create_infer_request()
        self._outputs = [
            (spec.name, self._compiled.output(index))
            for index, spec in enumerate(artifact.signature.outputs)
        ]

    def _run(self, feeds: Feeds) -> Outputs:
        results = self._request.infer(feeds, share_inputs=True)
        return {name: results[port] for name, port in self._outputs}

    def _close(self) -> None:
        del self._request, self._compiled, self._outputs


def _read(artifact: Artifact) -> ov.Model:
    model, weights = artifact.files["model"], artifact.files["weights"]
    if model.whole_file is not None and weights.whole_file is not None:
        return core().read_model(model.whole_file, weights.whole_file)
    return core().read_model(bytes(model.view()), bytes(weights.view()))


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
