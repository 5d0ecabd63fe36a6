"""Brings a whole model into a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from modelport.frontends.network.core import Core, layer
from modelport.frontends.network.mistakes import Refused, nearest
from modelport.frontends.network.tensor import Tensor, written
from modelport.graph import io, provenance, schemas


class Splice(Core):
    @layer
    def splice(
        self, model: Any, inputs: Any = None, *, prefix: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
        """Inserts a model with its weights; the original stays as it is.

        Args:
            model: the path of an ONNX file, an `onnx_ir.Model`, or another network.
            inputs: what its inputs become: a tensor, several in its order, or a mapping by name.
            prefix: the module that it becomes; by default its own name.
            outputs: names of the outputs wanted; what only others need is left out.

        Returns:
            Its outputs in its order, in a tuple where there are several.
        """
        copy = _model_of(model)
        self._demand_same_operators(copy)
        given = self._bound(copy, inputs)
        results = _chosen(copy, outputs)
        own = [value for value in copy.graph.inputs if value.name not in copy.graph.initializers]
        for value in own:
            _demand_fit(value, given[value.name or ""])
            value.replace_all_uses_with(given[value.name or ""].value)
        found = [given[v.name or ""].value if v in own else v for v in results]
        self._functions.update(copy.functions)
        for domain, version in copy.opset_imports.items():
            self._graph.opset_imports.setdefault(domain, version)
        with self.scope(copy.graph.name or "model" if prefix is None else prefix):
            self._move(copy.graph, set(found))
        tensors = [self.tensor(value) for value in found]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    def _move(self, graph: ir.Graph, wanted: set[ir.Value]) -> None:
        graph.outputs.clear()
        nodes = _needed(graph, wanted)
        weights = list(graph.initializers.values())
        graph.remove(list(graph))
        graph.initializers.clear()
        for weight in weights:
            if weight.uses() or weight in wanted:
                weight.name = self.fresh_name(f"{self.path}.{weight.name}".lstrip("."))
                self._graph.register_initializer(weight)
        for node in nodes:
            self._adopt(node)

    def _adopt(self, node: ir.Node) -> None:
        """A node with what is inside it: names are made anew, the module stands below this one."""
        for inner in (node, *_inside(node)):
            path = f"{self.path}.{provenance.module_of(inner)}".strip(".")
            inner.metadata_props[provenance.MODULE] = path
        for graph in _graphs(node):
            for value in _defined(graph):
                if value.name:
                    value.name = self.fresh_name(f"{self.path}.{value.name}".lstrip("."))
        for value in node.outputs:
            value.name = f"{self.path}.{value.name}".lstrip(".") if value.name else None
        rule = schemas.operator(node.op_type, self.opset) if not node.domain else None
        self.append(node, rule)
        self._optional.add(node)

    def _bound(self, model: ir.Model, inputs: Any) -> dict[str, Tensor]:
        names = [v.name or "" for v in model.graph.inputs if v.name not in model.graph.initializers]
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        else:
            several = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
            if inputs is None or len(several) != len(names):
                raise Refused(
                    f"the model was given {0 if inputs is None else len(several)} inputs",
                    expected=", ".join(names),
                )
            given = dict(zip(names, several, strict=True))
        if set(given) != set(names):
            unknown = next(iter(set(given) - set(names)), None)
            raise Refused(
                f"the model was given the inputs {', '.join(given)}",
                expected=", ".join(names),
                hint=nearest(unknown, names) if unknown else None,
            )
        return {name: self.taken(tensor) for name, tensor in given.items()}

    def _demand_same_operators(self, model: ir.Model) -> None:
        written_for = model.opset_imports.get("", self.opset)
        if written_for == self.opset:
            return
        used = {node.op_type for node in model.graph.all_nodes() if not node.domain}
        changed = [
            name
            for name in sorted(used)
            if not schemas.means_the_same(name, written_for, self.opset)
        ]
        if changed:
            raise Refused(
                f"the model is of opset {written_for}, where {', '.join(changed)} mean other things "
                f"than in opset {self.opset} of this network",
                hint=f"Build the network with opset={written_for}"
                if written_for >= 18
                else "Export the model again with a newer opset",
            )


def _model_of(model: Any) -> ir.Model:
    if isinstance(model, (str, Path)):
        return io.load(Path(model))
    if isinstance(model, ir.Model):
        return model.clone()
    if isinstance(model, Core) and hasattr(model, "build"):
        built: ir.Model = model.build()
        return built
    raise Refused(
        f"a {type(model).__name__} was given",
        expected="the path of an ONNX file, an onnx_ir.Model or a Network",
    )


def _chosen(model: ir.Model, names: Sequence[str] | None) -> list[ir.Value]:
    known = {value.name or "": value for value in model.graph.outputs}
    if names is None:
        return list(known.values())
    for name in names:
        if name not in known:
            raise Refused(
                f"the model has no output {name!r}",
                expected=f"one of {', '.join(known)}",
                hint=nearest(name, known),
            )
    return [known[name] for name in names]


def _demand_fit(value: ir.Value, tensor: Tensor) -> None:
    sizes = value.shape.dims if value.shape is not None else None
    same = value.dtype == tensor.value.dtype
    if sizes is not None and same:
        pairs = zip(sizes, tensor.shape, strict=False)
        same = len(sizes) == tensor.rank and all(
            one == other or not (isinstance(one, int) and isinstance(other, int))
            for one, other in pairs
        )
    if not same:
        kind = value.dtype.numpy().name if value.dtype is not None else "unknown"
        raise Refused(
            f"the model's input {value.name} is {kind} {written(sizes)}, and it was given "
            f"{tensor.dtype} {written(tensor.shape)}"
        )


def _needed(graph: ir.Graph, wanted: set[ir.Value]) -> list[ir.Node]:
    """The nodes that lead to those values, in their order."""
    kept: set[ir.Node] = set()
    read = set(wanted)
    for node in reversed(graph):
        if any(value in read for value in node.outputs):
            kept.add(node)
            for each in (node, *_inside(node)):
                read |= {value for value in each.inputs if value is not None}
    ordered = [node for node in graph if node in kept]
    for node in reversed(list(graph)):
        if node not in kept:
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
    return ordered


def _graphs(node: ir.Node) -> list[ir.Graph]:
    found = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            graph = attribute.as_graph()
            found += [graph, *graph.subgraphs()]
    return found


def _inside(node: ir.Node) -> list[ir.Node]:
    return [inner for graph in _graphs(node) for inner in graph]


def _defined(graph: ir.Graph) -> list[ir.Value]:
    made = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *made]
