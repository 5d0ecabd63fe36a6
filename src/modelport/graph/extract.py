"""Cuts sub-models out of a graph: a module, what lies between values, the parts between marks."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress

import onnx_ir as ir

from modelport.errors import GraphError, UnknownNameError, UsageError
from modelport.graph import find, invariants, operators, provenance, retype
from modelport.graph.scope import ancestors, border, in_order, is_constant, reads, with_nested


def module(model: ir.Model, selector: str) -> ir.Model:
    """The nodes of a module, or of any selector, as a model of its own; the original stays as it is.

    Its inputs and outputs are the values that cross the module's border. Weights come along, and so does
    what is computed from weights alone.

    Raises:
        UnknownNameError: where there is no such module; it offers near names.
        GraphError: where its nodes lie inside a branch or loop.
    """
    model = _typed(model)
    chosen = [node for place in find.places(model, selector) for node in place]
    nested = [node for node in chosen if node.graph is not model.graph]
    outside = set(chosen) - with_nested(node for node in chosen if node.graph is model.graph)
    if outside:
        raise GraphError(
            f"{selector!r} lies inside a branch or loop, by its node {nested[0].name!r}",
            hint="Extract the module that holds the whole If or Loop",
        )
    nodes = set(chosen) - set(nested)
    takes, gives = border(in_order(model.graph, nodes))
    nodes |= _constant_ancestors(takes)
    takes, _ = border(in_order(model.graph, nodes))
    if not gives:
        raise GraphError(f"Nothing outside {selector!r} reads what it gives")
    return _cut(model, [value for value in takes if not value.is_initializer()], gives, nodes)


def between(
    model: ir.Model, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
) -> ir.Model:
    """The nodes that lead from some values to others, as a model; the original stays as it is.

    Args:
        inputs: values that the new model is given; by default the inputs of the model that it needs.
        outputs: values that it gives; by default the outputs of the model.

    Raises:
        UsageError: where the outputs need more than the inputs given, or an input is not needed.
    """
    model = _typed(model)
    gives = [find.value(model, each) for each in outputs or ()] or list(model.graph.outputs)
    given = [find.value(model, each) for each in inputs or ()]
    for value in [*given, *gives]:
        if value.graph is not model.graph:
            raise UsageError(f"{value.name!r} lies inside a branch or loop")
    nodes = ancestors(gives, stop=given)
    needed = _free_values(model.graph, nodes, gives)
    lacking = [value for value in needed if value not in given]
    idle = [value for value in given if value not in needed]
    if inputs is not None and (lacking or idle):
        told = f"needs {_names(lacking)} too" if lacking else f"does not need {_names(idle)}"
        raise UsageError(
            f"What gives {_names(gives)} {told}",
            expected=f"inputs that cut it off: {_names(needed)}",
        )
    order = given if inputs is not None else needed
    return _cut(model, order, gives, nodes)


def _free_values(
    graph: ir.Graph, nodes: Collection[ir.Node], gives: Sequence[ir.Value]
) -> list[ir.Value]:
    """What nodes and outputs need and no node gives; the model's own inputs first, in their order."""
    made = {value for node in nodes for value in node.outputs}
    read = [value for node in in_order(graph, nodes) for value in reads(node)]
    needed = dict.fromkeys(value for value in [*read, *gives] if value not in made)
    free = [value for value in needed if not is_constant(value)]
    own = [value for value in graph.inputs if value in free]
    return [*own, *(value for value in free if value not in own)]


def marks(model: ir.Model) -> dict[str, list[ir.Value]]:
    """The values that the source marked, by the name of the mark, in the order of the graph.

    See `modelport.mark`.
    """
    found: dict[str, list[ir.Value]] = {}
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        for name in provenance.marks_of(value):
            found.setdefault(name, []).append(value)
    return found


def split(model: ir.Model, at: Sequence[str] | None = None) -> list[ir.Model]:
    """Splits a model into parts that follow each other: `merge.chain` of them is the whole again.

    The first part is what the first mark needs, the second what the second needs beyond that, and the
    last one all the rest. A part gives what later ones or callers need; see `merge.chain`.

    Args:
        at: names of marks, or selectors of values; by default all marks.

    Raises:
        UnknownNameError: where there is no such mark or value.
        UsageError: where a part would have nothing to do.
    """
    model = _typed(model)
    known = marks(model)
    names = list(known) if at is None else list(at)
    if not names:
        raise UsageError(
            "The graph has no marks to be split at",
            hint='Mark a tensor in the model, x = modelport.mark(x, "neck"), or name values',
        )
    cuts = [(name, known.get(name) or _values_at(model, name, known)) for name in names]
    place = {value: number for number, value in enumerate(_all_of(model.graph))}
    cuts.sort(key=lambda cut: max(place.get(value, 0) for value in cut[1]))
    parts, done = [], set[ir.Node]()
    for name, values in cuts:
        nodes = ancestors(values) - done
        if not _works(nodes):
            raise UsageError(f"Nothing is computed before {name!r} that no earlier part computes")
        parts.append(nodes)
        done |= nodes
    rest = ancestors(model.graph.outputs) - done
    if not _works(rest):
        raise UsageError(f"Nothing is computed after {cuts[-1][0]!r} that an output needs")
    return list(_cut_apart(model, [*parts, rest]))


def _all_of(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from (value for node in graph for value in node.outputs)


def _works(nodes: Iterable[ir.Node]) -> bool:
    return any(node.op_type != "Constant" for node in nodes)


def _values_at(model: ir.Model, name: str, known: dict[str, list[ir.Value]]) -> list[ir.Value]:
    try:
        return find.values(model, name)
    except UnknownNameError as error:
        near = difflib.get_close_matches(name, list(known), n=1)
        raise UnknownNameError(
            f"There is neither a mark nor a value {name!r}",
            expected=f"one of the marks {', '.join(known)}" if known else error.expected,
            hint=f"Perhaps you meant {near[0]!r}" if near else error.hint,
        ) from error


def _cut_apart(model: ir.Model, parts: Sequence[set[ir.Node]]) -> Iterator[ir.Model]:
    shared = {node for node in model.graph if node.op_type == "Constant"}
    for number, part in enumerate(parts):
        nodes = (part - shared) | _constants_of(part, shared)
        made = {value for node in part - shared for value in node.outputs}
        later = {value for other in parts[number + 1 :] for node in other for value in reads(node)}
        gives = [
            value
            for node in in_order(model.graph, nodes)
            for value in node.outputs
            if value in made and (value in later or value.is_graph_output())
        ]
        last = number == len(parts) - 1
        outer = [value for value in model.graph.outputs if value in made] if last else gives
        gives = [*outer, *(value for value in gives if value not in outer)]
        if not gives:
            raise UsageError(f"Neither later parts nor outputs need part {number + 1}")
        yield _cut(model, _free_values(model.graph, nodes, gives), gives, nodes)


def _constants_of(nodes: Iterable[ir.Node], shared: set[ir.Node]) -> set[ir.Node]:
    """Constant nodes come along with every part that reads them."""
    producers = {value.producer() for node in nodes for value in reads(node)}
    return {node for node in producers if node is not None and node in shared}


def _constant_ancestors(values: Iterable[ir.Value]) -> set[ir.Node]:
    """Nodes that compute some of those values from weights alone."""
    found: set[ir.Node] = set()
    for value in values:
        above = ancestors([value])
        read = {each for node in above for each in reads(node)} | {value}
        if above and all(each.producer() is not None or is_constant(each) for each in read):
            found |= above
    return found


def _cut(
    model: ir.Model,
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    nodes: Collection[ir.Node],
) -> ir.Model:
    """A model of those nodes, with the weights and functions that they need."""
    _demand_types([*inputs, *outputs])
    ordered = in_order(model.graph, nodes)
    needed = [value for node in ordered for value in reads(node)]
    constants = dict.fromkeys(
        value
        for value in [*needed, *outputs]
        if value.is_initializer() and value not in inputs and value.graph is model.graph
    )
    graph = ir.GraphView(
        inputs,
        outputs,
        nodes=ordered,
        initializers=tuple(constants),
        opset_imports=model.graph.opset_imports,
        name=model.graph.name,
        metadata_props=model.graph.metadata_props,
    ).clone()
    made = ir.Model(
        graph,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        functions=[function.clone() for function in model.functions.values()],
        metadata_props=dict(model.metadata_props),
    )
    operators.inherit(made, model)
    retype.unshare(graph)
    _drop_unused_functions(made)
    invariants.check(made)
    return made


def _drop_unused_functions(model: ir.Model) -> None:
    called = {node.op_identifier() for node in model.graph.all_nodes()}
    left = list(called)
    while left:
        function = model.functions.get(left.pop())
        for node in function.all_nodes() if function is not None else ():
            if node.op_identifier() not in called:
                called.add(node.op_identifier())
                left.append(node.op_identifier())
    for name in [name for name in model.functions if name not in called]:
        del model.functions[name]


def _typed(model: ir.Model) -> ir.Model:
    """The model, or where values lack types a copy in which they are inferred."""
    if all(v.type is not None and v.shape is not None for v in _all_of(model.graph) if v.name):
        return model
    inferred = retype.copy_of(model)
    with suppress(GraphError):  # what is cut out may be sound all the same
        retype.settle(inferred)
    return inferred


def _demand_types(values: Sequence[ir.Value]) -> None:
    for value in values:
        if value.type is None or value.shape is None:
            what = "element type" if value.type is None else "number of dimensions"
            raise GraphError(
                f"Nobody knows the {what} of {value.name!r}, which would cross the border",
                hint="Cut elsewhere, or export the model with shapes",
            )


def _names(values: Sequence[ir.Value]) -> str:
    return ", ".join(repr(value.name) for value in values[:6]) or "nothing"
