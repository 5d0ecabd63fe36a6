"""Carries `modelport.mark` through an export: a node for each mark at first, a note on the value then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ShapeInferencePass

from modelport import marking as marked
from modelport.frontends.options import TORCH_EXPORT
from modelport.graph import provenance
from modelport.graph.rewire import give_instead, read_instead
from modelport.graph.scope import all_values

_DOMAIN, _OPERATOR = "modelport", "Mark"
_OPSETS = range(9, 24)


@contextmanager
def marking(exporter: str) -> Iterator[dict[Any, Callable[..., Any]]]:
    """Lets `modelport.mark` leave an operator, which exporters keep, until the end.

    Yields:
        Its translation, for `torch.onnx.export`.
    """
    operator, before = _operator(), marked.keeper
    marked.keeper = operator
    try:
        if exporter == TORCH_EXPORT:
            yield {torch.ops.modelport.mark.default: _translated}
        else:
            with _symbolic():
                yield {}
    finally:
        marked.keeper = before


@cache
def _operator() -> Callable[..., Any]:
    """Gives a copy, for torch forbids operators whose result is their argument."""

    @torch.library.custom_op("modelport::mark", mutates_args=())
    def mark(x: torch.Tensor, name: str) -> torch.Tensor:
        return x.clone()

    @mark.register_fake
    def _(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.empty_like(x)

    return cast(Callable[..., Any], mark)


def _translated(x: Any, name: str) -> Any:
    from onnxscript import evaluator

    node = ir.node(_OPERATOR, [x], {"name": name}, domain=_DOMAIN, version=1)
    cast(Any, evaluator.default()).nodes.append(node)
    return node.outputs[0]


@contextmanager
def _symbolic() -> Iterator[None]:
    from torch.onnx.utils import (
        register_custom_op_symbolic,
        unregister_custom_op_symbolic,
    )

    def symbolic(g: Any, x: Any, name: Any) -> Any:
        made = g.op(f"{_DOMAIN}::{_OPERATOR}", x, name_s=name.node().s("value"))
        made.setType(x.type())
        return made

    for opset in _OPSETS:
        register_custom_op_symbolic("modelport::mark", symbolic, opset)
    try:
        yield
    finally:
        for opset in _OPSETS:
            unregister_custom_op_symbolic("modelport::mark", opset)


def settle_marks(model: ir.Model) -> None:
    """Puts the marks on the values, under their names where these are free, and removes the nodes."""
    taken = {value.name for value in all_values(model.graph)}
    nodes = [n for n in model.graph.all_nodes() if (n.domain, n.op_type) == (_DOMAIN, _OPERATOR)]
    values = [_settle(model, node, taken) for node in nodes]
    model.opset_imports.pop(_DOMAIN, None)
    if any(value.type is None for value in values):  # a file may only mention values with types
        ShapeInferencePass(check_type=False, strict_mode=False)(model)


def _settle(model: ir.Model, node: ir.Node, taken: set[str | None]) -> ir.Value:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None
    assert isinstance(node.graph, ir.Graph)
    name = node.attributes["name"].as_string()
    names = [*provenance.marks_of(source), name]
    source.type, source.shape = source.type or result.type, source.shape or result.shape
    source.metadata_props[provenance.MARK] = " ".join(dict.fromkeys(names))
    read_instead(source, result)
    give_instead(model, source, result)
    node.graph.remove(node, safe=True)
    if name not in taken and source.producer() is not None and not source.is_graph_output():
        source.name = name
        taken.add(name)
    return source
