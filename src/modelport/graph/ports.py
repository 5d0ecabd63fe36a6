"""Changes the signature of a graph in place: outputs added or removed, element types, sizes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelport.errors import GraphError, UnknownNameError, UsageError
from modelport.graph import find, new_nodes, provenance
from modelport.graph.query import RANGE, set_bounds
from modelport.graph.retype import EDITED
from modelport.graph.rewire import (
    drop,
    drop_unread,
    give_instead,
    place_after,
    read_instead,
    swap_names,
)
from modelport.graph.scope import all_values, is_read
from modelport.types import Dim, TensorSpec


def add_output(model: ir.Model, value: str, name: str | None = None) -> ir.Value:
    """Makes a value an output too, the last one.

    Args:
        name: of the output; by default the value's own.
    """
    found = find.value(model, value)
    if found.is_graph_output():
        raise UsageError(f"{found.name!r} is an output already")
    if found.graph is not model.graph:
        raise UsageError(
            f"{found.name!r} lies inside a branch or loop",
            hint="Only values of the graph itself can be outputs: name what the If or Loop gives",
        )
    if name is not None and name != found.name:
        demand_free(model, name)
    if found.producer() is None:
        if name is None:
            raise UsageError(
                f"{found.name!r} is an input or a weight", hint="Give the output another name"
            )
        node = new_nodes.make(model, "Identity", [found], like=found)
        provenance.inherit(node, [use.node for use in found.uses()][:1])
        node.outputs[0].type, node.outputs[0].shape = found.type, found.shape
        model.graph.append(node)
        found = node.outputs[0]
    if name is not None:
        found.name = name
    model.graph.outputs.append(found)
    return found


def remove_output(model: ir.Model, name: str) -> None:
    """Takes an output off the signature, with the nodes that only it needed. Inputs stay."""
    index = _port(model.graph.outputs, name, "output")
    if len(model.graph.outputs) == 1:
        raise UsageError(f"{name!r} is the only output", expected="at least one that stays")
    value = model.graph.outputs[index]
    model.graph.outputs.pop(index)  # `del` would leave it marked as an output
    drop(drop_unread([value]))


def remove_input(model: ir.Model, name: str) -> None:
    """Takes an input off the signature that nothing reads."""
    index = _port(model.graph.inputs, name, "input")
    value = model.graph.inputs[index]
    if is_read(value):
        reader = next((provenance.describe(use.node) for use in value.uses()), "an output")
        raise UsageError(
            f"The input {name!r} is read by {reader!r}", hint="Bypass or replace its readers first"
        )
    model.graph.inputs.pop(index)


def set_input(
    model: ir.Model, name: str, *, dtype: str | None = None, shape: str | None = None
) -> None:
    """Changes what an input takes. Another element type is cast to the one that the graph wants.

    Args:
        dtype: numpy's name for it: `uint8`, `float16`.
        shape: as in `--input`: `1..16x3x224x224`; each size is fixed, or free within bounds.
    """
    value = model.graph.inputs[_port(model.graph.inputs, name, "input")]
    element, sizes = _element_type(value, dtype), _sizes(value, shape)
    if element is not None and element != value.dtype:
        _cast_input(model, value, element)
    if sizes is not None:
        value.shape = _shape(value, sizes)
        value.metadata_props.pop(RANGE, None)
        set_bounds(value, TensorSpec(name, "float32", tuple(sizes)))
        value.meta[EDITED] = True


def _cast_input(model: ir.Model, value: ir.Value, element: ir.DataType) -> None:
    wanted, readers = value.type, [use.node for use in value.uses()]
    node = new_nodes.make(model, "Cast", [], {"to": value.dtype}, like=value)
    provenance.inherit(node, readers[:1])
    (result,) = node.outputs
    result.type, result.shape = wanted, value.shape
    read_instead(result, value)
    node.resize_inputs(1)
    node.replace_input_with(0, value)
    place_after(value, node)
    give_instead(model, result, value)
    value.type = ir.TensorType(element)


def set_output(
    model: ir.Model, name: str, *, dtype: str | None = None, shape: str | None = None
) -> None:
    """Changes what an output gives: another element type by a Cast. A shape only says what it is."""
    index = _port(model.graph.outputs, name, "output")
    value = model.graph.outputs[index]
    element, sizes = _element_type(value, dtype), _sizes(value, shape)
    if element is not None and element != value.dtype:
        producer = value.producer()
        if producer is None:
            raise UsageError(f"The output {name!r} is an input or a weight", hint="Cast that one")
        node = new_nodes.make(model, "Cast", [value], {"to": element}, like=value)
        provenance.inherit(node, [producer])
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(element), value.shape
        model.graph.append(node)
        model.graph.outputs[index] = node.outputs[0]
        swap_names(node.outputs[0], value)
        value = node.outputs[0]
    if sizes is not None:
        value.shape = _shape(value, sizes)


def demand_free(model: ir.Model, name: str) -> None:
    """Raises UsageError where a value has that name."""
    if not name or any(value.name == name for value in all_values(model.graph)):
        why = f"Another value is named {name!r} already" if name else "A name is empty"
        raise UsageError(why, hint="Choose another name")


def _port(values: Sequence[ir.Value], name: str, kind: str) -> int:
    names = [value.name or "" for value in values]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise UnknownNameError(
            f"There is no {kind} {name!r}",
            expected=f"one of {', '.join(names)}",
            hint=f"Perhaps you meant {near[0]!r}" if near else None,
        )
    return names.index(name)


def _element_type(value: ir.Value, dtype: str | None) -> ir.DataType | None:
    if dtype is None:
        return None
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        raise GraphError(f"{value.name!r} is no tensor with a known element type")
    try:
        return ir.DataType.BFLOAT16 if dtype == "bfloat16" else _of_numpy(dtype)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"There is no element type {dtype!r}",
            expected="a numpy name such as float32, float16, uint8 or int64",
        ) from error


def _of_numpy(dtype: str) -> ir.DataType:
    return ir.DataType.from_numpy(np.dtype(dtype))


def _sizes(value: ir.Value, shape: str | None) -> list[int | Dim] | None:
    if shape is None:
        return None
    sizes = list(TensorSpec.parse(f"{value.name}={shape}").shape)
    if value.shape is not None and len(sizes) != len(value.shape):
        raise UsageError(
            f"{value.name!r} has {len(value.shape)} dimensions, and {shape!r} has {len(sizes)}",
            expected=f"as many as in {value.shape}",
        )
    return sizes


def _shape(value: ir.Value, sizes: Sequence[int | Dim]) -> ir.Shape:
    return ir.Shape(
        [
            size if isinstance(size, int) else size.name or f"{value.name}_{axis}"
            for axis, size in enumerate(sizes)
        ]
    )
