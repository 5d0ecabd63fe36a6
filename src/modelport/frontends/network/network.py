"""`modelport.Network`: a graph built layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport import __version__
from modelport.errors import GraphError, UsageError
from modelport.frontends.network.control import Control
from modelport.frontends.network.core import layer
from modelport.frontends.network.half import halve
from modelport.frontends.network.layers.activations import Activations
from modelport.frontends.network.layers.arithmetic import Arithmetic
from modelport.frontends.network.layers.attention import Attention
from modelport.frontends.network.layers.norms import Norms
from modelport.frontends.network.layers.pools import Pools
from modelport.frontends.network.layers.recurrent import Recurrent
from modelport.frontends.network.mistakes import Refused, nearest
from modelport.frontends.network.operands import element_type
from modelport.frontends.network.operators import Operators
from modelport.frontends.network.splice import Splice
from modelport.frontends.network.tensor import Tensor, written
from modelport.frontends.network.weights import Weights, open_weights
from modelport.graph import invariants, io, provenance, query, schemas, standard
from modelport.types import Array, Dim, Feeds, Outputs, Target, TensorSpec


class Network(
    Attention, Activations, Arithmetic, Norms, Pools, Recurrent, Control, Splice
):  # fmt: skip
    """A network, built layer by layer; each layer is checked when it is called.

    It is a source wherever one is taken: `modelport.deploy(net)`, `export`, `optimize`.

    Args:
        name: of the graph.
        opset: version of the standard operators.

    Attributes:
        op: every standard operator, as its specification has it: `net.op.Einsum(x, y, equation="ij,jk")`.
    """

    _half: bool | None = None
    """Whether the signature is in half precision too; None where nothing is."""

    @cached_property
    def op(self) -> Operators:
        return Operators(self)

    @layer
    def input(
        self, spec: str | TensorSpec, dtype: Any = "float32", shape: Sequence[Any] | None = None
    ) -> Tensor:
        """An input.

        Args:
            spec: all of it, `"x=1x3x224x224"` or `"ids:int64=1..8x128"`; or its name alone.
            dtype: numpy's name of the element type, beside a name.
            shape: numbers, `Dim`s, ranges as text, or names of free sizes, beside a name.
        """
        wanted = _spec(spec, dtype, shape)
        if any(value.name == wanted.name for value in self._graph.inputs):
            raise Refused(f"there is an input {wanted.name!r} already")
        if len(self._open) > 1:
            raise Refused("a branch or loop has no inputs of its own")
        sizes = [
            size if isinstance(size, int) else size.name or f"{wanted.name}_{axis}"
            for axis, size in enumerate(wanted.shape)
        ]
        self._make_room_for(wanted.name)
        kind = ir.TensorType(element_type(wanted.dtype))
        value = ir.Value(name=wanted.name, type=kind, shape=ir.Shape(sizes))
        query.set_bounds(value, wanted)
        self._graph.inputs.append(value)
        return self.tensor(value)

    @layer
    def output(self, x: Any, name: str | None = None) -> Tensor:
        """Makes a tensor an output.

        Args:
            name: `output`, numbered, by default; `"boxes=1..x4"` says the shape too, where ONNX does
                not know it.
        """
        value = self.taken(x).value
        spec = TensorSpec.parse(name) if name and "=" in name else None
        wanted = spec.name if spec else name or self.fresh_name("output")
        if any(other.name == wanted for other in self._graph.outputs):
            raise Refused(f"there is an output {wanted!r} already")
        if any(other.name == wanted for other in self._graph.inputs):
            raise Refused(f"the name {wanted!r} is that of an input")
        if value.producer() is None or value in self._graph.outputs:
            value = self.one("Identity", self.tensor(value)).value
        self._make_room_for(wanted)
        value.name = wanted
        if spec is not None:
            _promise(value, spec)
        self._graph.outputs.append(value)
        return self.tensor(value)

    def weights(self, source: Any) -> Weights:
        """Weights by name, read when they are asked for.

        Args:
            source: a `.safetensors`, `.npz`, `.onnx`, `.pth` or `.pt` file, a folder of `.npy` files, a
                mapping of arrays or PyTorch tensors such as a state dict, or a module.

        Raises:
            WeightsError: where it cannot be read.
        """
        return open_weights(source)

    @layer
    def constant(self, array: Any, dtype: Any = None) -> Tensor:
        """Numbers that are part of the network."""
        found = np.asarray(array) if dtype is None else np.asarray(array).astype(
            element_type(dtype).numpy()
        )  # fmt: skip
        plain = dtype is None and not hasattr(array, "dtype") and found.dtype == np.float64
        return self.taken(found.astype(np.float32) if plain else found)

    def half(self, *, signature: bool = False) -> Network:
        """Weights and computation in float16, from the graph that is built on.

        Args:
            signature: whether inputs and outputs are float16 too; they stay float32 by default.
        """
        self._half = signature
        return self

    def build(self, *, prune: bool = False) -> ir.Model:
        """The graph, checked: by our invariants and by ONNX's own.

        The network may grow on; what was built before stays as it is.

        Args:
            prune: whether layers that lead to no output are left out; they are an error otherwise.

        Raises:
            UsageError: where there is no output, or a layer or an input leads to none.
        """
        if not self._graph.outputs:
            raise UsageError(
                f"The network {self.name!r} has no output",
                hint="Say which with net.output(x, name)",
            )
        unused = _unused(self._graph)
        forgotten = [node for node in unused if node not in self._optional]
        if forgotten and not prune:
            raise _unused_error(forgotten[0])
        model = self._model().clone()
        pairs = list(zip(self._graph, model.graph, strict=True))
        model.graph.remove([copy for node, copy in pairs if node in unused], safe=True)
        for name, value in list(model.graph.initializers.items()):
            if not value.uses():
                del model.graph.initializers[name]
        for value in model.graph.inputs:
            if not value.uses() and not prune:
                raise UsageError(
                    f"No layer reads the input {value.name!r}", hint="Leave it out, or use it"
                )
        if self._half is not None:
            halve(model, signature=self._half)
        provenance.name_nodes(model)
        invariants.check(model)
        query.signature_of(model)
        standard.check(model)
        return model

    def save(self, path: str | Path, *, weights_in: str = io.AUTO) -> Path:
        """Writes the graph to an `.onnx` file; see `modelport.export` for `weights_in`."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        io.save(self.build(), path, weights_in=weights_in)
        return path

    def run(self, feeds: Feeds | Array, *, engine: str = "onnxruntime") -> Outputs:
        """Runs the network once, to try it out.

        Args:
            feeds: one array for each input by name, or the array for the only one.
            engine: a name of `modelport engines`; `reference` runs each operator as specified.

        Returns:
            One array for each output by name.
        """
        from modelport.engines import ENGINES
        from modelport.engines.scratch import opened

        model = self.build()
        if not isinstance(feeds, Mapping):
            feeds = {query.signature_of(model).inputs[0].name: np.asarray(feeds)}
        with opened(ENGINES.get(engine), model, Target()) as session:
            return session.run(feeds)

    def __repr__(self) -> str:
        values = ", ".join(value.name or "" for value in self._graph.inputs)
        results = ", ".join(value.name or "" for value in self._graph.outputs)
        count = len(self._graph)
        return f"<Network {self.name}: {values} -> {results or 'no output yet'}, {count} nodes>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        layers = [known for known in dir(type(self)) if not known.startswith("_")]
        hint = _ABSENT.get(name) or nearest(name, layers)
        known = f"; net.op.{name} is an operator of ONNX" if schemas.opsets_of(name) else ""
        raise AttributeError(f"A network has no layer {name!r}{known}. {hint or ''}".strip())

    def _model(self) -> ir.Model:
        return ir.Model(
            self._graph,
            ir_version=schemas.ir_version_of(self.opset),
            producer_name="modelport",
            producer_version=__version__,
            functions=list(self._functions.values()),
        )

    def _make_room_for(self, name: str) -> None:
        """A name that the user chose is theirs; a value that happens to have it takes another."""
        for value in [
            *self._graph.initializers.values(),
            *(result for node in self._graph.all_nodes() for result in node.outputs),
        ]:
            if value.name == name:
                value.name = self.fresh_name(name)
        self._taken.add(name)


_ABSENT = {
    "dropout": "Dropout does nothing once a model is trained: leave it out",
    "permute": "It is called transpose here",
    "interpolate": "It is called resize here",
    "cat": "It is called concat here",
    "conv": "Say conv1d, conv2d or conv3d",
    "view": "It is called reshape here",
}


def _spec(spec: str | TensorSpec, dtype: Any, shape: Sequence[Any] | None) -> TensorSpec:
    if isinstance(spec, TensorSpec):
        return spec
    if shape is None:
        if "=" not in spec:
            raise Refused(
                f"the input {spec!r} has no shape",
                hint=f"Write for example net.input('{spec}=1x3x224x224')",
            )
        return TensorSpec.parse(spec)
    sizes = tuple(_size(size) for size in shape)
    return TensorSpec(spec, str(element_type(dtype).numpy().name), sizes)


def _size(given: Any) -> int | Dim:
    if isinstance(given, str):
        read = Dim.parse(given)
        if read is not None:
            return read
        if given.isidentifier():
            return Dim(name=given)
    if isinstance(given, Dim):
        return given
    if isinstance(given, (int, np.integer)) and given >= 0:
        return int(given)
    raise Refused(f"the size {given!r} cannot be read", expected="224, '1..8', 'n' or a Dim")


def _promise(value: ir.Value, spec: TensorSpec) -> None:
    """What the user knows of an output beyond what was inferred."""
    if value.dtype is not None and value.dtype.numpy().name != spec.dtype:
        raise Refused(f"{spec.name} is {value.dtype.numpy().name}", expected=spec.dtype)
    known = None if value.shape is None else value.shape.dims
    sizes = [size if isinstance(size, int) else size.name for size in spec.shape]
    fits = known is None or (
        len(known) == len(sizes)
        and all(not isinstance(a, int) or a == b for a, b in zip(known, sizes, strict=True))
    )
    if not fits:
        raise Refused(f"{spec.name} has shape {written(known)}", expected=str(spec))
    value.type, value.shape = ir.TensorType(element_type(spec.dtype)), ir.Shape(sizes)
    query.set_bounds(value, spec)


def _unused(graph: ir.Graph) -> dict[ir.Node, None]:
    """Nodes that lead to no output."""
    needed: set[ir.Node] = set()
    waiting = [value.producer() for value in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in needed or node.graph is not graph:
            continue
        needed.add(node)
        waiting += [value.producer() for value in _read(node)]
    return dict.fromkeys(node for node in graph if node not in needed)


def _read(node: ir.Node) -> list[ir.Value]:
    found = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph().all_nodes():
                found += [value for value in inner.inputs if value is not None]
    return found


def _unused_error(node: ir.Node) -> GraphError | UsageError:
    line = node.metadata_props.get(provenance.LINE)
    return UsageError(
        f"Nothing comes of {node.outputs[0].name} ({node.op_type}{f', {line}' if line else ''})",
        expected="every layer to lead to an output",
        hint="Make it an output, leave it out, or build with prune=True",
        module_path=provenance.module_of(node) or None,
    )
