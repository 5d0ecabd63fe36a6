"""Checks an edited graph by onnx's own rules, and infers element types and shapes anew."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import onnx  # noqa: TID251  (the checker and shape inference take protos)
import onnx_ir as ir

from modelport.errors import GraphError
from modelport.graph import invariants, provenance
from modelport.graph.scope import all_values, reads

EDITED = "modelport.edited"
"""Note on a value whose type or shape an edit has set: what was known below it no longer holds."""

_LARGE_BYTES = 1000
"""Contents of weights up to here may be shapes and axes, which inference wants to see."""

_ROUNDS = 20
"""Operators of other domains in a row: after each, inference gets a little further."""


def copy_of(model: ir.Model) -> ir.Model:
    """A copy that shares weights with the model but no type, so that the copy may be retyped."""
    made = model.clone()
    unshare(made.graph)
    return made


def unshare(graph: ir.Graph) -> None:
    """Gives every value of a cloned graph a type of its own: setting a `dtype` writes into the type."""
    for value in all_values(graph):
        value.type = copy.deepcopy(value.type)


def lacks_types(model: ir.Model) -> bool:
    """Whether the element type of some value is not known; files need not say any between nodes."""
    return any(value.type is None for value in all_values(model.graph) if value.name)


def settle(model: ir.Model) -> None:
    """Checks a graph after edits, and gives its values the types and shapes that now hold.

    What inference does not know stays as it was, except below what an edit changed.

    Raises:
        GraphError: naming the node and its module, where the graph breaks a rule of ONNX. The types and
            shapes then are as they were.
    """
    invariants.check(model)
    _Inference(model).run()


class _Inference:
    """Inference on a bare copy, whose values and nodes stand at the same places as the model's."""

    def __init__(self, model: ir.Model) -> None:
        self.bare = copy_of(model)
        self.nodes = dict(zip(model.graph.all_nodes(), self.bare.graph.all_nodes(), strict=True))
        self.values = dict(zip(all_values(model.graph), all_values(self.bare.graph), strict=True))
        self.names: dict[str, str] = {}
        for number, node in enumerate(self.nodes.values()):
            node.name = f"{_NODE}{number}"
        for number, value in enumerate(self._results()):
            name, value.const_value = f"{_VALUE}{number}", None
            self.names[name] = value.name or ""
            value.name = name if value.name else value.name
            value.type = value.shape = None
            value.metadata_props.clear()  # a value without a type must not be mentioned at all

    def run(self) -> None:
        self._infer()
        for _ in range(_ROUNDS):
            if not self._guess():
                break
            self._infer()
        self._demand_output_types()
        self._check()
        changed = self._changed()
        for node, bare in self.nodes.items():
            for value, found in zip(node.outputs, bare.outputs, strict=True):
                _take(value, found, value in changed)
        for value in self.values:
            value.meta.pop(EDITED, None)

    def _results(self) -> Iterator[ir.Value]:
        return (value for node in self.nodes.values() for value in node.outputs)

    def _check(self) -> None:
        """The checker refuses outputs of unknown rank, which engines take; it does not look at the rank."""
        outputs = [value for value in self.bare.graph.outputs if value.shape is None]
        for value in outputs:
            value.shape = ir.Shape([])
        try:
            self._onnx(onnx.checker.check_model)
        finally:
            for value in outputs:
                value.shape = None

    def _demand_output_types(self) -> None:
        for value, bare in self.values.items():
            node = value.producer()
            if bare.is_graph_output() and bare.type is None and node is not None:
                raise GraphError(
                    f"Nobody knows the element type of the output {value.name!r} of {node.op_type}",
                    hint="Put a Cast behind it, which says what it is",
                    module_path=provenance.module_of(node) or None,
                )

    def _infer(self) -> None:
        def infer(proto: onnx.ModelProto) -> Any:
            return onnx.shape_inference.infer_shapes(
                proto, check_type=True, strict_mode=True, data_prop=True
            )

        inferred = ir.from_proto(self._onnx(infer))
        found = {value.name: value for value in all_values(inferred.graph)}
        for value in self._results():
            result = found.get(value.name)
            if result is not None and value.name:
                value.type, value.shape = result.type or value.type, result.shape or value.shape

    def _onnx(self, action: Callable[[onnx.ModelProto], Any]) -> Any:
        """Hands the model over without its large weights, which stand among the inputs meanwhile."""
        graph = self.bare.graph
        before = list(graph.inputs)
        large = [value for value in graph.initializers.values() if _is_large(value)]
        for value in large:
            del graph.initializers[value.name or ""]
            if value not in before:
                graph.inputs.append(value)
        try:
            return action(ir.to_proto(self.bare))
        except Exception as error:  # kinds of onnx's own, without a base in common
            raise self._explained(str(error)) from error
        finally:
            graph.inputs.clear()
            graph.inputs.extend(before)
            for value in large:
                graph.register_initializer(value)

    def _explained(self, text: str) -> GraphError:
        """onnx's sentence, with the names that the user knows."""
        found = re.search(rf"{_NODE}(\d+)\b", text)
        node = list(self.nodes)[int(found[1])] if found else None
        text = re.sub(rf"{_VALUE}\d+\b", lambda match: repr(self.names[match[0]]), text)
        text = re.sub(rf"\(?(op_type:\w+, )?node name: {_NODE}\d+\)?:?", "", text)
        text = re.sub(r"==> Context:.*|\[\w*(Error|Check)\w*\]", "", text, flags=re.DOTALL)
        plain = " ".join(text.split()).strip(" .:")
        if node is None:
            return GraphError(f"ONNX refuses the graph: {plain}")
        return GraphError(
            f"ONNX refuses the node {node.name!r} ({node.op_type}): {plain}",
            module_path=provenance.module_of(node) or None,
        )

    def _guess(self) -> bool:
        """Takes over what was known of operators that onnx does not know, where it still holds.

        Returns:
            Whether there was something; inference then gets further.
        """
        changed, new = self._changed(), False
        for node, bare in self.nodes.items():
            if any(self._bare(value).type is None for value in reads(node)):
                continue
            for value, found in zip(node.outputs, bare.outputs, strict=True):
                if found.type is None and value.type is not None:
                    found.type, new = value.type, True
                    if value not in changed:
                        found.shape = value.shape
        return new

    def _bare(self, value: ir.Value) -> ir.Value:
        return self.values.get(value, value)

    def _changed(self) -> set[ir.Value]:
        """Values below an edit, and those that inference finds to be other than was known."""
        changed = {value for value in self.values if value.meta.get(EDITED)}
        for node, bare in self.nodes.items():
            above = any(value in changed for value in reads(node))
            for value, found in zip(node.outputs, bare.outputs, strict=True):
                if above or _differs(value, found):
                    changed.add(value)
        return changed


_NODE, _VALUE = "modelport_node_", "modelport_value_"


def _is_large(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None:
        return False
    if value.type is None or value.shape is None:
        value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
    return tensor.nbytes > _LARGE_BYTES


def _differs(value: ir.Value, found: ir.Value) -> bool:
    if value.type is None or found.type is None:
        return False
    if value.type != found.type:
        return True
    if value.shape is None or found.shape is None:
        return False
    pairs = list(zip(value.shape.dims, found.shape.dims, strict=False))
    sizes = (isinstance(old, int) and isinstance(new, int) and old != new for old, new in pairs)
    return len(value.shape) != len(found.shape) or any(sizes)


def _take(value: ir.Value, found: ir.Value, changed: bool) -> None:
    """Gives a value what was found; a size that nobody found stays as it was where that may hold."""
    if found.type is not None:
        value.type = copy.deepcopy(found.type)
    old = value.shape
    if found.shape is None:
        if changed and old is not None:
            value.shape = ir.Shape([None] * len(old))
        return
    if changed or old is None or len(old) != len(found.shape):
        value.shape = ir.Shape(found.shape.dims)
        return
    value.shape = ir.Shape(
        [
            new if isinstance(new, int) or _is_unnamed(was) else was
            for was, new in zip(old.dims, found.shape.dims, strict=True)
        ]
    )


def _is_unnamed(size: int | ir.SymbolicDim) -> bool:
    return not isinstance(size, int) and size.value is None
