"""Runs an OpenVINO artifact."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import openvino as ov

from modelport.cores import usable_cores
from modelport.engines.base import Session
from modelport.engines.libraries import operator_libraries
from modelport.engines.openvino.kept import compiled
from modelport.errors import EngineUnavailableError
from modelport.types import Array, Artifact, Feeds, Outputs, Target


@cache
def core() -> ov.Core:
    return ov.Core()


def with_extensions(libraries: Sequence[str]) -> ov.Core:
    """A core of its own: an extension cannot be taken out again."""
    made = ov.Core()
    for library in libraries:
        made.add_extension(library)
    return made


CPU, AUTO = "CPU", "AUTO"
KINDS = (CPU, "GPU", "NPU", AUTO)


def device_of(text: str) -> str:
    """OpenVINO's own name of a device such as `gpu:1`.

    Raises:
        EngineUnavailableError: where it has none, or the device is not here.
    """
    name = text.strip().upper().replace(":", ".")
    if name.partition(".")[0] not in KINDS:
        raise EngineUnavailableError(
            f"The device {text!r} is none that OpenVINO has a name for here",
            expected="cpu, gpu, gpu:1, npu or auto",
        )
    if name in (CPU, AUTO):
        return name
    here = core().available_devices
    if not any(name in (each, each.partition(".")[0], f"{each}.0") for each in here):
        raise EngineUnavailableError(
            f"The device {text!r} cannot be used: OpenVINO finds {', '.join(here)} alone",
            hint="Install the driver of the device, or leave the device out",
        )
    return name


def has(device: str, capability: str) -> bool:
    """Whether OpenVINO reports that arithmetic, such as `BF16`, for a device."""
    return capability in core().get_property(device, "OPTIMIZATION_CAPABILITIES")


def problem_of(target: Target) -> str | None:
    """Why that device or that arithmetic cannot be had here, or None where it can."""
    try:
        device = device_of(target.device)
    except EngineUnavailableError as error:
        told = [error.seen, error.expected and f"expected {error.expected}", error.hint]
        return ". ".join(part for part in told if part)
    kind = device.partition(".")[0]
    if kind == "NPU" and target.precision == "fp32":
        return "an NPU computes in fp16"
    wanted = CAPABILITIES.get(target.precision)
    if wanted is None or (device != AUTO and has(device, wanted)):
        return None
    if device == AUTO:
        return f"auto takes what is there when a session opens, so {target.precision} cannot be promised"
    thing = "processor" if kind == CPU else kind
    return f"this {thing} has no {WORDS[wanted]} instructions"


CAPABILITIES = {"bf16": "BF16", "fp16": "FP16", "f16": "FP16"}
"""By our name of a precision, and by OpenVINO's own."""

WORDS = {"BF16": "bfloat16", "FP16": "float16"}


class OpenVinoSession(Session):
    """Runs may overlap: each that is under way has a request of its own."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        device = device_of(str(artifact.options.get("device", CPU)))
        # OpenVINO keeps pointing into mapped weights, so they live as long as the session does.
        self._weights = _mapped_weights(artifact)
        with ExitStack() as opening:
            libraries = opening.enter_context(operator_libraries(artifact))
            mine = with_extensions(libraries) if libraries else core()
            model = _read(mine, artifact, self._weights)
            settings = _settings(artifact, device, threads)
            if libraries:
                self._compiled = mine.compile_model(model, device, settings)
            else:
                self._compiled = compiled(mine, model, device, settings)
            self._libraries = opening.pop_all()
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        # By place and not by name: a tensor that is an input and an output has lost one of its names.
        self._inputs = [
            (spec.name, self._compiled.input(index))
            for index, spec in enumerate(artifact.signature.inputs)
        ]
        self._outputs = [
            (spec.name, self._compiled.output(index), spec.smallest() if spec.is_static else None)
            for index, spec in enumerate(artifact.signature.outputs)
        ]

    def submit(self, feeds: Feeds) -> Future[Outputs]:
        """Starts a run and gives its promise; as many run at once as OpenVINO says is best, and one more
        is made ready meanwhile. The feeds must stay as they are until the promise is kept.
        """
        if self._queue is None and self._open:
            best = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            self._queue = ThreadPoolExecutor(best + 1, thread_name_prefix="modelport-openvino")
        return super().submit(feeds)

    def _run(self, feeds: Feeds) -> Outputs:
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        try:
            results = request.infer(self._fed(feeds), share_inputs=True)
            return {name: _promised(results[port], shape) for name, port, shape in self._outputs}
        finally:
            self._idle.put(request)

    def _fed(self, feeds: Feeds) -> Any:
        """A lone array takes a shorter way through OpenVINO's Python than a dictionary of one."""
        if len(self._inputs) == 1:
            return feeds[self._inputs[0][0]]
        return {port: feeds[name] for name, port in self._inputs}

    def _close(self) -> None:
        del self._idle, self._compiled, self._inputs, self._outputs, self._weights
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


def _settings(artifact: Artifact, device: str, threads: int) -> dict[str, object]:
    precision = str(artifact.options.get("inference_precision", "f32"))
    if precision != "f32" and (device == AUTO or not has(device, CAPABILITIES[precision])):
        precision = "f32"  # what was built where the processor has it still runs, only slower
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": artifact.options.get("performance_hint", "LATENCY"),
        "INFERENCE_PRECISION_HINT": precision,
    }
    if threads and device == CPU:
        settings["INFERENCE_NUM_THREADS"] = threads
        # Each session would pin its threads to the first cores, and several would share those.
        settings["ENABLE_CPU_PINNING"] = threads >= usable_cores()
    return settings
