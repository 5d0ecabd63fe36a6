"""Joins models: one behind the other, or side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from modelport.errors import GraphError, UsageError
from modelport.graph import edit, provenance, retype
from modelport.graph.functions import adopt_opset
from modelport.graph.new_nodes import free_name
from modelport.graph.rewire import read_instead
from modelport.graph.schemas import means_the_same
from modelport.graph.scope import all_values

_STANDARD = ("", "ai.onnx")
_FREE_INITIALIZERS = 4
"""From this IR version on, an initializer need not be an input."""


def chain(
    models: Sequence[ir.Model],
    *,
    map: Mapping[str, str] | None = None,
    outputs: Sequence[str] | None = None,
    prefixes: Sequence[str] | None = None,
) -> ir.Model:
    """Joins models one behind the other; the originals stay as they are.

    An input of a later model takes the value that `map` names for it, else the output of an earlier model
    of its own name, else the input of an earlier model of its name and type. Where nothing of that finds
    any input of a model, its inputs take the outputs of the model before it, in order. Inputs that are
    left become inputs of the whole.

    Args:
        map: from inputs of later models to outputs of earlier ones.
        outputs: names of the outputs; by default all that no later model reads.
        prefixes: one for each model, before the names of its modules, nodes, weights and other values;
            inputs and outputs keep theirs. Without them only names that clash get one: `m2.`.

    Raises:
        UsageError: where types or shapes do not fit, or `map` names what is not there.
        GraphError: where the models' opsets cannot be brought together.
    """
    made, parts = _together(models, prefixes)
    graph, left = made.graph, dict(map or {})
    given = {value.name: value for value in graph.outputs}
    taken: set[ir.Value] = set()
    made.meta[_OUTPUTS] = list(given)
    for part in parts[1:]:
        for value, source in _connections(part, parts, given, left, graph):
            _demand_fit(value, source)
            read_instead(source, value)
            taken.add(source)
        _append(graph, part, given, taken)
    if left:
        raise UsageError(
            f"The map names {', '.join(repr(name) for name in left)}",
            expected="inputs of the models after the first",
        )
    _choose_outputs(graph, given, taken, outputs)
    _settled(made)
    return made


def beside(
    models: Sequence[ir.Model],
    *,
    share: Sequence[str] = (),
    prefixes: Sequence[str] | None = None,
) -> ir.Model:
    """Joins models side by side; the originals stay as they are.

    Args:
        share: inputs that the models have in common, by name; others of one name become two.
        prefixes: as in `chain`; inputs and outputs get them too, where their names clash.

    Raises:
        UsageError: where shared inputs differ in type or shape.
        GraphError: where the models' opsets cannot be brought together.
    """
    made, parts = _together(models, prefixes, share)
    graph = made.graph
    given = {value.name: value for value in graph.outputs}
    for part in parts[1:]:
        for value in list(part.graph.inputs):
            twin = next((v for v in graph.inputs if v.name == value.name), None)
            if twin is not None:
                _demand_fit(value, twin)
                read_instead(twin, value)
                part.graph.inputs.remove(value)
        _append(graph, part, given, set())
    missing = [name for name in share if not any(v.name == name for v in graph.inputs)]
    if missing:
        raise UsageError(f"No model has an input {missing[0]!r} to share")
    _settled(made)
    return made


def _settled(model: ir.Model) -> None:
    model.graph.sort()
    retype.settle(model)


def _together(
    models: Sequence[ir.Model], prefixes: Sequence[str] | None, share: Sequence[str] | None = None
) -> tuple[ir.Model, list[ir.Model]]:
    """Copies with names apart and one opset; the first of them is what the others go into.

    Args:
        share: inputs that keep one name; None where all inputs and outputs keep theirs.
    """
    if len(models) < 2:
        raise UsageError(f"{len(models)} models were given to be joined", expected="two or more")
    if prefixes is not None and len(prefixes) != len(models):
        raise UsageError(
            f"{len(prefixes)} prefixes were given for {len(models)} models", expected="one for each"
        )
    parts = [retype.copy_of(model) for model in models]
    for part in parts:
        _free_initializers(part)
    _agree_on_opsets(parts)
    names: set[str] = set()
    for number, part in enumerate(parts):
        prefix = None if prefixes is None else prefixes[number]
        others = {name for other in parts if other is not part for name in _port_names(other)}
        _set_apart(part, number, (names, others), prefix, share)
        names |= {value.name or "" for value in all_values(part.graph)}
        names |= {node.name or "" for node in part.graph.all_nodes()}
    first = parts[0]
    first.ir_version = max(part.ir_version for part in parts)
    for part in parts[1:]:
        _bring_functions(first, part)
    return first, parts


def _port_names(model: ir.Model) -> set[str]:
    return {value.name or "" for value in [*model.graph.inputs, *model.graph.outputs]}


def _free_initializers(model: ir.Model) -> None:
    if model.ir_version < _FREE_INITIALIZERS:
        inputs = [value for value in model.graph.inputs if not value.is_initializer()]
        model.graph.inputs.clear()
        model.graph.inputs.extend(inputs)
        model.ir_version = _FREE_INITIALIZERS


def _set_apart(
    part: ir.Model,
    number: int,
    taken: tuple[set[str], set[str]],
    prefix: str | None,
    share: Sequence[str] | None,
) -> None:
    """Gives names that are taken a prefix, or all, where the caller named one.

    Args:
        taken: names of earlier models, and those of the inputs and outputs of all others, which what
            lies between nodes must not have either.
    """
    ports = {*part.graph.inputs, *part.graph.outputs}
    before = prefix if prefix is not None else f"m{number + 1}."
    known = {value.name or "" for value in all_values(part.graph)}.union(*taken)

    def renamed(name: str, *, is_port: bool) -> str:
        clashes = name in taken[0] or (name in taken[1] and not is_port)
        made = free_name(before + name, known) if clashes or (prefix and not is_port) else name
        known.add(made)
        return made

    for value in list(all_values(part.graph)):
        if value in ports and (share is None or value.name in share):
            continue
        new = renamed(value.name, is_port=value in ports) if value.name else ""
        if new != (value.name or ""):
            if value.const_value is not None:
                value.const_value = edit.named(value.const_value, new)
            ir.convenience.rename_values(value, new)
    for node in part.graph.all_nodes():
        node.name = renamed(node.name, is_port=False) if node.name else node.name
        path = node.metadata_props.get(provenance.MODULE)
        if prefix and path is not None:
            node.metadata_props[provenance.MODULE] = f"{prefix}{path}".strip(".")


def _connections(
    part: ir.Model,
    parts: Sequence[ir.Model],
    given: Mapping[str | None, ir.Value],
    left: dict[str, str],
    graph: ir.Graph,
) -> list[tuple[ir.Value, ir.Value]]:
    """Which input of a part takes which value."""
    found = []
    for value in part.graph.inputs:
        name = left.pop(value.name or "", None)
        if name is not None and name not in given:
            known = ", ".join(str(each) for each in given)
            raise UsageError(
                f"{value.name!r} is to take {name!r}", expected=f"an output of before: {known}"
            )
        source = given.get(name if name is not None else value.name)
        if source is None:
            twin = next((each for each in graph.inputs if each.name == value.name), None)
            source = twin if twin is not None and edit.mismatch(value, twin) is None else None
            if twin is not None and source is None:
                raise UsageError(f"Two inputs do not agree: {edit.mismatch(value, twin)}")
        if source is not None:
            found.append((value, source))
    before = parts[parts.index(part) - 1]
    if not found and part.graph.inputs:
        found = _by_order(part, before, given)
    for value, _ in found:
        part.graph.inputs.remove(value)
    return found


def _by_order(
    part: ir.Model, before: ir.Model, given: Mapping[str | None, ir.Value]
) -> list[tuple[ir.Value, ir.Value]]:
    free = list(part.graph.inputs)
    # What went in before belongs to the whole by now, with its outputs still listed by name.
    outputs = [given[name] for name in before.meta.get(_OUTPUTS, []) if name in given]
    if len(free) != len(outputs):
        raise UsageError(
            f"The inputs {_names(free)} of a model have not the names of the outputs "
            f"{_names(outputs)} before it, nor are they as many",
            hint="Say which takes which: map={input: output}, or --map INPUT=OUTPUT",
        )
    return list(zip(free, outputs, strict=True))


_OUTPUTS = "modelport.outputs"


def _demand_fit(value: ir.Value, source: ir.Value) -> None:
    problem = edit.mismatch(value, source)
    if problem is not None:
        raise UsageError(
            f"The input {value.name!r} cannot take {source.name!r}: {problem}",
            expected="equal element types and shapes",
            hint="Change one with set_input or set_output first",
        )


def _append(
    graph: ir.Graph, part: ir.Model, given: dict[str | None, ir.Value], taken: set[ir.Value]
) -> None:
    """Moves what is left of a part into the graph. An output that was taken yields its name."""
    other = part.graph
    inputs, outputs = list(other.inputs), list(other.outputs)
    other.inputs.clear()
    other.outputs.clear()
    part.meta[_OUTPUTS] = [value.name for value in outputs]
    for value in list(other.initializers.values()):
        del other.initializers[value.name or ""]
        graph.register_initializer(value)
    nodes = list(other)
    other.remove(nodes)
    graph.inputs.extend(inputs)
    graph.extend(nodes)
    for value in outputs:
        earlier = given.pop(value.name, None)
        if earlier is not None and earlier not in taken:
            raise UsageError(
                f"Two models have an output {value.name!r}",
                hint="Rename one; or, if the second is to take it, say so: map={INPUT: OUTPUT}",
            )
        if earlier is not None:
            earlier.name = free_name(f"{value.name}_before", {v.name for v in all_values(graph)})
            given[earlier.name] = earlier
        given[value.name] = value
        graph.outputs.append(value)


def _choose_outputs(
    graph: ir.Graph,
    given: Mapping[str | None, ir.Value],
    taken: set[ir.Value],
    names: Sequence[str] | None,
) -> None:
    unknown = [name for name in names or () if name not in given]
    if unknown:
        known = ", ".join(str(each) for each in given)
        raise UsageError(f"No model has an output {unknown[0]!r}", expected=f"one of {known}")
    chosen = (
        [value for value in given.values() if value not in taken]
        if names is None
        else [given[name] for name in names]
    )
    graph.outputs.clear()
    graph.outputs.extend(chosen)


def _agree_on_opsets(parts: Sequence[ir.Model]) -> None:
    """One version of each domain: the newest, where every operator of the others means the same."""
    wanted: dict[str, int] = {}
    for part in parts:
        for domain, version in part.opset_imports.items():
            domain = "" if domain in _STANDARD else domain
            wanted[domain] = max(version, wanted.get(domain, 0))
    for part in parts:
        for domain, version in list(part.opset_imports.items()):
            newest = wanted["" if domain in _STANDARD else domain]
            if version != newest:
                _demand_same(part, domain, version, newest)
        part.opset_imports.pop("ai.onnx", None)
        part.opset_imports.update(wanted)
        for function in part.functions.values():
            adopt_opset(function, part)


def _demand_same(part: ir.Model, domain: str, version: int, newest: int) -> None:
    for node in part.graph.all_nodes():
        if node.domain != domain and not (node.domain in _STANDARD and domain in _STANDARD):
            continue
        if domain not in _STANDARD or not means_the_same(node.op_type, version, newest):
            raise GraphError(
                f"The node {node.name!r} is {node.op_type} of opset {version} of "
                f"{domain or 'ai.onnx'}, which may differ in the opset {newest} of the other model",
                hint="Export both models with one opset",
                module_path=provenance.module_of(node) or None,
            )


def _bring_functions(made: ir.Model, part: ir.Model) -> None:
    for name, function in part.functions.items():
        known = made.functions.get(name)
        if known is None:
            made.functions[name] = function
        elif ir.to_proto(known) != ir.to_proto(function):
            raise GraphError(
                f"Two models have different functions {function.domain}::{function.name}",
                hint="Optimise one with its functions inlined",
            )


def _names(values: Sequence[ir.Value]) -> str:
    return ", ".join(repr(value.name) for value in values[:6]) or "none"
