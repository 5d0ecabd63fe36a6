"""Runs an ONNX artifact with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import onnxruntime as ort

from modelport.engines.base import Session
from modelport.engines.libraries import operator_libraries
from modelport.engines.onnxruntime.kept import kept, kept_at, reopened
from modelport.engines.onnxruntime.providers import Device, read_device
from modelport.errors import EngineUnavailableError
from modelport.types import Array, Artifact, Feeds, Outputs, Signature


class OnnxRuntimeSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._device = read_device(str(artifact.options.get("device", "cpu")))
        with ExitStack() as opening:
            libraries = opening.enter_context(operator_libraries(artifact))
            opener = _Opener(artifact, threads, libraries, self._device)
            self._session = opener.open()
            self._libraries = opening.pop_all()
        self._names = [spec.name for spec in artifact.signature.outputs]

    def _run(self, feeds: Feeds) -> Outputs:
        if self._device.provider.memory:
            return run_bound(self._session, feeds, self._names, self._device)
        # On the CPU arrays of the caller that are bound as outputs were no faster, and small ones slower.
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))

    def _close(self) -> None:
        del self._session
        self._libraries.close()


def run_bound(
    session: ort.InferenceSession, feeds: Feeds, names: Sequence[str], device: Device
) -> Outputs:
    """Outputs stay on the device until the run is over, and are copied back together."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    for name in names:
        binding.bind_output(name, device.provider.memory, device.index)
    session.run_with_iobinding(binding)
    return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))


class MemorySession(Session):
    """Runs a model whose weights stay where they are, for checks while a model is built."""

    def __init__(
        self,
        signature: Signature,
        model: bytes,
        weights: Mapping[str, Array],
        folder: Path | None,
        threads: int,
        *,
        integers: bool = True,
    ) -> None:
        super().__init__(signature, "onnxruntime")
        options = _options(threads)
        if not integers:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if folder is not None:
            options.add_session_config_entry(_FOLDER, f"{folder.resolve()}/")
        # Weights laid out anew for the kernels would be a second copy of all of them.
        in_files = folder is not None
        if in_files or sum(array.nbytes for array in weights.values()) > PACKED_MOST_BYTES:
            options.add_session_config_entry("session.disable_prepacking", "1")
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), values)
        self._session = _started(model, options, read_device("cpu"))
        self._weights = values
        self._names = [spec.name for spec in signature.outputs]

    def _run(self, feeds: Feeds) -> Outputs:
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))

    def _close(self) -> None:
        del self._session, self._weights


_FOLDER = "session.model_external_initializers_file_folder_path"

PACKED_MOST_BYTES = 1_000_000_000
"""Above it a check would rather be slower than take the memory twice."""


SPIN_US = 1000
"""How long an idle worker waits for more before it sleeps. By default it would keep a core for long that the
rest of the pipeline needs; told to sleep at the end of each run, it was up to 8 ms late for the next one."""


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    return options


def _started(
    model: str | bytes,
    options: ort.SessionOptions,
    device: Device,
    skipped: Sequence[str] = (),
) -> ort.InferenceSession:
    if not device.is_cpu:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(
        model, options, providers=device.wanted(), disabled_optimizers=[*WRONG, *skipped]
    )
    problem = None if device.is_cpu else _left_to_the_cpu(session, device.provider.name)
    if problem is not None:
        raise EngineUnavailableError(
            f"{device.provider.name} {problem}, so ONNX Runtime would run all on the CPU",
            hint="Look whether the device is there, with its driver and libraries; or leave it out",
        )
    return session


def _left_to_the_cpu(session: ort.InferenceSession, provider: str) -> str | None:
    """Why nothing runs on the device, which ONNX Runtime itself tells nobody; None where something does."""
    if provider not in session.get_providers():
        return "could not be started"
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before 1.24
        return None
    used = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    return "took none of the operators" if used and provider not in used else None


WRONG = ("Pad_Fusion",)
"""Optimisers that change results: it takes zeros before MaxPool for the pads of MaxPool. What it may
fold, our own passes fold."""


IS_QUANTIZED = "quantized"
"""Option of an artifact: its graph has integers in it."""

IN_THE_WAY = ("MatMulAddFusion",)
"""Optimisers that keep integers from being multiplied as such: a product and a sum become a Gemm before it
is asked whether the product has quantized inputs, and a Gemm of integers needs an integer for its bias."""


class _Opener:
    """Opens a model of an artifact, in each of the forms in which it may be there."""

    def __init__(
        self, artifact: Artifact, threads: int, libraries: Sequence[str], device: Device
    ) -> None:
        self._artifact, self._threads = artifact, threads
        self._libraries, self._device = libraries, device

    def open(self) -> ort.InferenceSession:
        as_it_is = self._artifact.options.get("optimize") is False
        plain = self._device.is_cpu and not self._libraries
        place = kept_at(self._artifact) if plain and not as_it_is else None
        if place is None:
            return self._model(optimize=not as_it_is)
        return reopened(place, self._optimized) or kept(place, self._model)

    def _optimized(self, path: Path) -> ort.InferenceSession:
        return self._started(str(path), self._options(optimize=False))

    def _model(self, write_to: Path | None = None, optimize: bool = True) -> ort.InferenceSession:
        options = self._options(optimize)
        if write_to is not None:
            options.optimized_model_filepath = str(write_to)
        model = self._artifact.files["model"]
        if model.whole_file is not None:
            return self._started(str(model.whole_file), options)
        weights = self._artifact.files.get("weights")
        if weights is not None:
            name = str(self._artifact.options.get("weights_name", "model.onnx.data"))
            view = bytes(weights.view())
            options.add_external_initializers_from_files_in_memory([name], [view], [len(view)])
        return self._started(bytes(model.view()), options)

    def _started(self, model: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        skipped = IN_THE_WAY if self._artifact.options.get(IS_QUANTIZED) else ()
        return _started(model, options, self._device, skipped)

    def _options(self, optimize: bool) -> ort.SessionOptions:
        options = _options(self._threads)
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        elif self._artifact.options.get("layout") == "nchw":
            # The level above this one blocks channels for the vectors of the processor, no more.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        for library in self._libraries:
            options.register_custom_ops_library(library)
        return options
