"""Runs a network of ncnn.

ncnn's matrices have up to four axes, and beside them a batch: pnnx says which axis of an input or output
that is, if any. Networks that others wrote name their blobs as they like; the options `inputs` and
`outputs` say these names, and the shapes of their outputs are often unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from modelport.engines.base import Session
from modelport.engines.files import as_file
from modelport.engines.ncnn.network import Network
from modelport.errors import EngineError, EngineUnavailableError
from modelport.types import Array, Artifact, Feeds, Outputs, TensorSpec

SIXTEEN_BITS = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
BRAIN_FLOATS = ("use_bf16_packed", "use_bf16_storage")


class NcnnSession(Session):
    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact.signature, artifact.engine)
        self._batch_of_inputs = artifact.options["batch_of_inputs"]
        self._batch_of_outputs = artifact.options["batch_of_outputs"]
        self._inputs = _blobs(artifact, "inputs", "in", len(self.signature.inputs))
        self._outputs = _blobs(artifact, "outputs", "out", len(self.signature.outputs))
        self._as_it_comes = "outputs" in artifact.options
        self._net = ncnn.Net()
        _set_options(self._net.opt, str(artifact.options["precision"]), threads)
        _choose_device(self._net, str(artifact.options.get("device", "cpu")))
        with ExitStack() as stack:
            model = as_file(artifact.files["model"], "model.param", stack)
            weights = as_file(artifact.files["weights"], "model.bin", stack)
            _load(self._net, str(model), str(weights))

    def look(self, feeds: Feeds, blobs: Iterable[str]) -> Iterator[tuple[str, Array]]:
        """Runs, and gives what is between layers."""
        with self._net.create_extractor() as extractor:
            extractor.set_light_mode(False)
            self._give(extractor, feeds)
            for blob in blobs:
                yield blob, _taken(extractor, blob, batch=0)

    def _run(self, feeds: Feeds) -> Outputs:
        with self._net.create_extractor() as extractor:
            self._give(extractor, feeds)
            wanted = zip(self.signature.outputs, self._outputs, self._batch_of_outputs, strict=True)
            return {
                spec.name: self._fitted(_taken(extractor, blob, batch), spec, feeds)
                for spec, blob, batch in wanted
            }

    def _fitted(self, array: Array, spec: TensorSpec, feeds: Feeds) -> Array:
        """An output that has no shape in the signature is of any, where the network is another's."""
        if self._as_it_comes and not spec.shape:
            return array
        return fitted(array, spec, self._sizes(feeds))

    def _give(self, extractor: Any, feeds: Feeds) -> None:
        given = zip(self.signature.inputs, self._inputs, self._batch_of_inputs, strict=True)
        for spec, blob, batch in given:
            # A copy, for layers that work in place.
            matrix = ncnn.Mat(_as_taken(feeds[spec.name], spec), batch_index=batch).clone()
            if extractor.input(blob, matrix) != 0:
                raise EngineError(f"ncnn failed while running: it refuses the input {spec.name!r}")

    def _sizes(self, feeds: Feeds) -> dict[str, int]:
        """Sizes that have a name, as they are in this run."""
        return {
            wanted.name: size
            for spec in self.signature.inputs
            for wanted, size in zip(spec.shape, feeds[spec.name].shape, strict=True)
            if not isinstance(wanted, int) and wanted.name is not None
        }

    def _close(self) -> None:
        self._net.clear()
        del self._net


def _blobs(artifact: Artifact, option: str, prefix: str, count: int) -> list[str]:
    """Names of blobs: those that pnnx gives, where the options have no others."""
    return list(artifact.options.get(option) or (f"{prefix}{index}" for index in range(count)))


def _set_options(options: Any, precision: str, threads: int) -> None:
    """Whatever is left to ncnn would change the numbers of a network that promises fp32."""
    for name in SIXTEEN_BITS:
        setattr(options, name, precision == "fp16")
    for name in BRAIN_FLOATS:
        setattr(options, name, precision == "bf16")
    if threads:
        options.num_threads = threads


def _choose_device(net: Any, device: str) -> None:
    if device == "cpu":
        return
    match = re.fullmatch(r"vulkan(?::(\d+))?", device)
    if match is None:
        raise EngineUnavailableError(
            f"ncnn has no device {device!r}; it has cpu, vulkan and vulkan:N"
        )
    index, count = int(match[1] or 0), ncnn.get_gpu_count()
    if index >= count:
        raise EngineUnavailableError(
            f"ncnn finds {count or 'no'} GPUs with a Vulkan driver on this machine, and {device!r} was "
            "asked for",
            hint="Leave --device out, or install the Vulkan driver of the GPU",
        )
    net.opt.use_vulkan_compute = True
    net.set_vulkan_device(index)


def _load(net: Any, model: str, weights: str) -> None:
    unknown = _unknown_layers(model)
    if unknown:
        raise EngineError(
            f"ncnn failed while loading: it lacks the layers {', '.join(unknown)}",
            hint="Convert the model without layers of its toolkit's own, which a stock ncnn does not have",
        )
    if net.load_param(model) != 0:
        raise EngineError("ncnn failed while loading: it cannot read the network's description")
    if net.load_model(weights) != 0:
        raise EngineError("ncnn failed while loading: the weights do not fit the network")


def _unknown_layers(model: str) -> list[str]:
    kinds = dict.fromkeys(layer.kind for layer in Network.read(Path(model)).layers)
    return [kind for kind in kinds if ncnn.layer_to_index(kind) < 0]


def _as_taken(array: Array, spec: TensorSpec) -> Array:
    if array.dtype == np.float32:
        return np.ascontiguousarray(array)
    limits = np.iinfo(np.int32)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise EngineError(
            f"ncnn takes integers of 32 bits, and {spec.name!r} has values up to {array.max()} and down "
            f"to {array.min()}"
        )
    return np.ascontiguousarray(array, np.int32)


def _taken(extractor: Any, name: str, batch: int) -> Array:
    status, matrix = extractor.extract(name)
    if status != 0:
        raise EngineError(
            f"ncnn failed while running: it cannot compute {name}, status {status}",
            hint="Choose other sizes, or another engine with --engines",
        )
    return np.array(matrix.numpy(batch_index=batch))


def fitted(array: Array, spec: TensorSpec, sizes: Mapping[str, int]) -> Array:
    """The array in the shape of the signature: ncnn drops axes, and has none without a size.

    Raises:
        EngineError: where it cannot be that shape.
    """
    if array.ndim != len(spec.shape):
        shape = _shape(array.size, spec, sizes)
        array = array if shape is None else array.reshape(shape)
    problem = spec.mismatch(array)
    if problem is not None:
        raise EngineError(
            f"ncnn failed while running: the output {spec.name!r} {problem}",
            expected=str(spec),
            hint="pnnx has converted the model wrongly; choose another engine with --engines",
        )
    return array


def _shape(count: int, spec: TensorSpec, sizes: Mapping[str, int]) -> Sequence[int] | None:
    """The one shape of so many numbers that fits; None where none or several do."""
    found = [s if isinstance(s, int) else sizes.get(s.name or "", -1) for s in spec.shape]
    open_places = [place for place, size in enumerate(found) if size < 0]
    known = int(np.prod([size for size in found if size >= 0]))
    if len(open_places) > 1 or known == 0 or count % known:
        return None
    for place in open_places:
        found[place] = count // known
    return found if int(np.prod(found)) == count else None
