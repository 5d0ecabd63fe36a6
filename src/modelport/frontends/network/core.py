"""The graph of a network while it grows: names, weights, nodes, and what is known of each value.

`Core` is what layers build on. A layer is a method marked with `layer`; it speaks to the graph through
`node`, which checks a node against its operator and infers what it gives at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import onnx_ir as ir

from modelport.errors import GraphError, UsageError
from modelport.frontends.network import operands
from modelport.frontends.network.mistakes import Refused, user_line
from modelport.frontends.network.tensor import Tensor, written
from modelport.frontends.network.weights import Weight, Weights
from modelport.graph import evaluate, provenance, schemas
from modelport.graph.infer_node import Inferred, infer_node
from modelport.types import Array

DEFAULT_OPSET = 20
OLDEST_OPSET = 18
"""Before it, reductions and pads took their axes in other ways."""

SMALL = 1024
"""Elements up to which the contents of a value are followed, to know the shapes they decide."""

MOST_AXES = 16

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Self = TypeVar("Self", bound="Core")


def layer(
    method: Callable[Concatenate[Self, Arguments], Result],
) -> Callable[Concatenate[Self, Arguments], Result]:
    """Marks what users call: its name is in the errors, its weights name the module, all or nothing."""

    @functools.wraps(method)
    def call(net: Self, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        given = (*arguments, *named.values())
        group = next((each for each in given if isinstance(each, Weights)), None)
        with net.calling(method.__name__, group):
            return method(net, *arguments, **named)

    return call


class Core:
    def __init__(self, name: str = "network", *, opset: int = DEFAULT_OPSET) -> None:
        newest = schemas.newest_opset()
        if not OLDEST_OPSET <= opset <= newest:
            raise UsageError(
                f"A network cannot be of opset {opset}",
                expected=f"one from {OLDEST_OPSET} to {newest}",
            )
        self.name = name
        self.opset = opset
        self._graph = ir.Graph([], [], nodes=[], name=name, opset_imports={"": opset})
        self._open = [self._graph]
        """The graph, and the subgraphs being built inside each other."""
        self._functions: dict[ir.OperatorIdentifier, ir.Function] = {}
        self._taken: set[str] = set()
        self._scopes: list[str] = []
        self._calls: list[str] = []
        self._line: str | None = None
        self._optional: set[ir.Node] = set()
        """Nodes of whole models brought in, whose results need not all be used."""
        self._known: dict[ir.Value, Array] = {}
        """Contents of small values that do not depend on the inputs."""
        self._stored: dict[Any, tuple[Any, ir.Value]] = {}
        """Initializers by what they were made of, which is kept so that its id stays its own."""

    @property
    def graph(self) -> ir.Graph:
        """Where nodes go now."""
        return self._open[-1]

    @property
    def path(self) -> str:
        """Dotted path of the module that is being built."""
        return ".".join(self._scopes)

    @contextmanager
    def scope(self, module: str | Weights) -> Iterator[None]:
        """Everything built inside belongs to that module: `with net.scope("layer1.0"):`.

        A group of weights stands for its path.
        """
        name = module.path if isinstance(module, Weights) else module
        # Groups know their whole path, of which a scope around may be a part.
        inside = f"{name}.".startswith(f"{self.path}.") and isinstance(module, Weights)
        saved, self._scopes = self._scopes, [name] if inside else [*self._scopes, name]
        self._scopes = [part for part in self._scopes if part]
        try:
            yield
        finally:
            self._scopes = saved

    @contextmanager
    def calling(self, name: str, group: Weights | None = None) -> Iterator[None]:
        """A call by the user, if it is not one inside another: it is undone where it fails."""
        outermost = not self._calls
        self._line = user_line() if outermost else self._line
        marks = list(self.graph), set(self._graph.initializers)
        calls = self._calls
        calls.append(name)
        path = self.path
        try:
            with self.scope(group or ""):
                path = self.path
                yield
        except Refused as error:
            if not outermost:
                raise
            self._undo(*marks)
            raise UsageError(
                f"{name}: {error.seen}" + (f" ({self._line})" if self._line else ""),
                expected=error.expected,
                hint=error.hint,
                module_path=path or None,
            ) from None
        except BaseException:
            if outermost:
                self._undo(*marks)
            raise
        finally:
            calls.pop()

    @contextmanager
    def users_code(self) -> Iterator[None]:
        """A function of the user's runs inside a layer: the layers it calls have lines of their own."""
        saved, self._calls, line = self._calls, [], self._line
        try:
            yield
        finally:
            self._calls, self._line = saved, line

    def _undo(self, nodes: Sequence[ir.Node], weights: set[str]) -> None:
        known = set(nodes)
        self.graph.remove([node for node in self.graph if node not in known], safe=True)
        for name in set(self._graph.initializers) - weights:
            value = self._graph.initializers[name]
            if not value.uses():
                del self._graph.initializers[name]
        self._stored = {
            key: (source, value)
            for key, (source, value) in self._stored.items()
            if value.is_initializer()
        }

    def fresh_name(self, stem: str) -> str:
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    def tensor(self, value: ir.Value) -> Tensor:
        return Tensor(self, value)

    def node(
        self,
        operator: str,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any] | None = None,
        *,
        outputs: int = 1,
        shape: Sequence[Any] | None = None,
    ) -> list[Tensor]:
        """A new node of a standard operator, checked.

        Args:
            inputs: tensors, arrays, numbers, or None for one left out.
            shape: what the layer knows of the first output beyond what ONNX infers: sizes by name.
        """
        rule = schemas.operator(operator, self.opset)
        if rule is None:
            raise Refused(f"opset {self.opset} has no {operator}", hint=since(operator))
        values = self._operands(rule, inputs)
        operands.check_types(rule, values)
        node = ir.Node(
            "", operator, values, operands.attributes(rule, attributes or {}), num_outputs=outputs
        )
        self.append(node, rule, shape)
        return [self.tensor(value) for value in node.outputs]

    def one(
        self,
        operator: str,
        *inputs: Any,
        shape: Sequence[Any] | None = None,
        **attributes: Any,
    ) -> Tensor:
        """A new node with one output; attributes that are None are left out."""
        given = {name: value for name, value in attributes.items() if value is not None}
        return self.node(operator, inputs, given, shape=shape)[0]

    def append(
        self,
        node: ir.Node,
        rule: schemas.Operator | None,
        shape: Sequence[Any] | None = None,
        *,
        infer: bool = True,
    ) -> None:
        """Puts a node at the end of the graph, with names, provenance and types."""
        stem = f"{self.path}.{node.op_type.lower()}".lstrip(".")
        for value in node.outputs:
            value.name = self.fresh_name(value.name or stem)
        node.name = self.fresh_name(node.name or f"{stem}_node")
        self.note_provenance(node)
        inferred = self._inferred(node, rule) if infer else []
        for value, found in zip(node.outputs, inferred, strict=False):
            value.type = found.type or value.type
            value.shape = _merged(found.shape, value.shape)
        if shape is not None:
            node.outputs[0].shape = _merged(node.outputs[0].shape, ir.Shape(shape))
        self._demand_sizes(node)
        self._follow(node)
        self.graph.append(node)

    def note_provenance(self, node: ir.Node) -> None:
        node.metadata_props.setdefault(provenance.MODULE, self.path)
        if self._line:
            node.metadata_props.setdefault(provenance.LINE, self._line)

    def _inferred(self, node: ir.Node, rule: schemas.Operator | None) -> list[Inferred]:
        known = {value: self._sizes_in(value) for value in node.inputs if value is not None}
        try:
            found = infer_node(
                node, self.opset, {key: array for key, array in known.items() if array is not None}
            )
        except GraphError as error:
            shapes = [written(value.shape) for value in node.inputs if value is not None]
            raise Refused(
                f"the shapes {', '.join(shapes)} do not fit {node.op_type} ({error.seen})"
                if len(shapes) > 1
                else f"the shape {''.join(shapes)} does not fit {node.op_type} ({error.seen})"
            ) from error
        return [
            Inferred(each.type or operands.bound_type(rule, node, index), each.shape)
            for index, each in enumerate(found)
        ]

    def _demand_sizes(self, node: ir.Node) -> None:
        for value in node.outputs:
            sizes = () if value.shape is None else value.shape.dims
            if any(isinstance(size, int) and size < 0 for size in sizes):
                taken = node.inputs[0]
                raise Refused(
                    f"nothing is left of the shape {written(taken.shape if taken else ())}",
                    expected="an input at least as large as the window",
                )

    def contents(self, value: ir.Value) -> Array | None:
        """What a small value holds whatever the inputs are, else None."""
        if value in self._known:
            return self._known[value]
        tensor = value.const_value
        if tensor is None or value.is_graph_input() or tensor.size > SMALL:
            return None
        return tensor.numpy()

    def _sizes_in(self, value: ir.Value) -> Array | None:
        """Contents that may decide shapes: whole numbers, and the few scales of a Resize."""
        found = self.contents(value)
        is_few = found is not None and (found.size <= MOST_AXES or found.dtype.kind in "iub")
        return found if is_few else None

    def _follow(self, node: ir.Node) -> None:
        """Computes whole numbers, which may be the sizes of what comes."""
        (result, *others) = node.outputs
        whole = result.dtype is not None and result.dtype.is_integer() and not others
        shape = result.shape
        if not whole or shape is None or not shape.is_static() or np.prod(shape.numpy()) > SMALL:
            return
        found = self._followed(node)
        if found is not None:
            self._known[result] = found

    def _followed(self, node: ir.Node) -> Array | None:
        first = node.inputs[0] if node.inputs else None
        if node.op_type == "Shape" and first is not None and first.shape is not None:
            chosen = first.shape[
                node.attributes.get_int("start", 0) : node.attributes.get_int("end", None)
            ]
            if all(isinstance(size, int) for size in chosen):
                return np.array(chosen, np.int64)
        inputs = [None if value is None else self.contents(value) for value in node.inputs]
        if any(a is None and v is not None for a, v in zip(inputs, node.inputs, strict=True)):
            return None
        try:
            return evaluate.evaluate(node, inputs, self.opset)[0]
        except GraphError:
            return None

    def _operands(self, rule: schemas.Operator, inputs: Sequence[Any]) -> list[ir.Value | None]:
        """Values of what was given, numbers in the element type of the tensors beside them."""
        like: dict[str, ir.DataType] = {}
        for index, given in enumerate(inputs):
            if isinstance(given, Tensor) and given.value.dtype is not None:
                like.setdefault(rule.input(index).kind if rule.inputs else "", given.value.dtype)
        values = []
        for index, given in enumerate(inputs):
            kind = rule.input(index).kind if rule.inputs else ""
            values.append(self.value(given, like.get(kind) or operands.only_type(rule, index)))
        return values

    def value(
        self, given: Any, like: ir.DataType | None = None, *, role: str = "", cast: bool = False
    ) -> ir.Value | None:
        """The value behind what a user may pass: a tensor, an array, a number, None.

        Args:
            like: the element type that numbers take, and arrays too where `cast` says so.
            role: what it is to the layer, for its name: `weight`.
        """
        if given is None:
            return None
        if isinstance(given, Tensor):
            return self._own(given)
        if isinstance(given, ir.Value):
            return given
        if isinstance(given, Weights):
            raise Refused(
                f"a group of weights, {given.path or given.origin}, stands where one array belongs",
                hint=f"Take one of {', '.join(list(given)[:5])}",
            )
        array = operands.array_like(given, like, cast=cast)
        return self._stored_value(given, array, role)

    def taken(self, given: Any) -> Tensor:
        """What a layer was given, as a tensor of this network."""
        value = self.value(given)
        if value is None:
            raise Refused("None was given for a tensor")
        return self.tensor(value)

    def parameters(
        self, x: Tensor, weights: Any, names: Mapping[str, str], given: Mapping[str, Any]
    ) -> list[Tensor | None]:
        """Weights of a layer in its input's element type, each from its argument or the group.

        Args:
            weights: what stands where the first weight belongs: that weight, or a group of all.
            names: what each is called in a group, by its own name in the layer.
        """
        found = dict(given)
        first = next(iter(names))
        if isinstance(weights, Weights):
            for name, key in names.items():
                if found.get(name) is None:
                    found[name] = weights.get(key)
        else:
            found[first] = weights
        values = [
            self.value(found.get(name), x.value.dtype, role=name, cast=True) for name in names
        ]
        return [None if value is None else self.tensor(value) for value in values]

    def _own(self, tensor: Tensor) -> ir.Value:
        if tensor.net is not self:
            raise Refused(
                f"{tensor.name} belongs to the network {tensor.net.name!r}, not to {self.name!r}",
                hint="Bring that network in as a whole, with net.splice",
            )
        if tensor.value.graph not in self._open:
            raise Refused(
                f"{tensor.name} is of the inside of a branch or loop, or of a call that failed",
                hint="Return it from the function that builds it",
            )
        return tensor.value

    def _stored_value(self, given: Any, array: Array, role: str) -> ir.Value:
        """One initializer for one array object, or for equal small constants."""
        key: Any = (id(given), array.dtype)
        if not isinstance(given, Weight) and array.size <= SMALL:
            key = (array.dtype, array.shape, array.tobytes())
        if key in self._stored:
            return self._stored[key][1]
        name = getattr(given, "name", None) if isinstance(given, Weight) else None
        stem = name or f"{self.path}.{role or 'constant'}".lstrip(".")
        tensor = ir.tensor(array, name=self.fresh_name(stem))
        value = ir.Value(
            name=tensor.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self._graph.register_initializer(value)
        self._stored[key] = given, value
        return value

    @contextmanager
    def inside(self, graph: ir.Graph) -> Iterator[None]:
        """Nodes go into that subgraph."""
        self._open.append(graph)
        try:
            yield
        finally:
            self._open.pop()

    if TYPE_CHECKING:  # written as layers; a tensor calls them

        def reshape(self, x: Any, shape: Any) -> Tensor: ...
        def transpose(self, x: Any, axes: Any = None) -> Tensor: ...
        def cast(self, x: Any, dtype: Any) -> Tensor: ...
        def neg(self, x: Any) -> Tensor: ...
        def abs(self, x: Any) -> Tensor: ...
        def logical_not(self, x: Any) -> Tensor: ...
        def item(self, x: Any, index: Any) -> Tensor: ...
        def arithmetic(self, sign: str, left: Any, right: Any) -> Tensor: ...


def since(operator: str) -> str | None:
    """Which opset brought an operator, as a hint."""
    versions = schemas.opsets_of(operator)
    if not versions:
        return None
    return f"It came with opset {versions[0]}: modelport.Network(name, opset={versions[0]})"


def _merged(first: ir.Shape | None, second: ir.Shape | None) -> ir.Shape | None:
    """Sizes of the first, and of the second where the first does not know; names win over nothing."""
    if first is None or second is None or len(first) != len(second):
        return first if first is not None else second
    return ir.Shape(
        [
            other if isinstance(size, ir.SymbolicDim) and size.value is None else size
            for size, other in zip(first.dims, second.dims, strict=True)
        ]
    )
