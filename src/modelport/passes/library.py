"""Passes that onnx-ir already does well, under our contract and our names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import onnx_ir as ir
from onnx_ir.passes import common

from modelport.graph.scope import nodes_of
from modelport.graph.shapes import record
from modelport.passes.base import GraphPass


class _LibraryPass(GraphPass):
    steps: ClassVar[tuple[ir.passes.PassBase, ...]]

    def apply(self, model: ir.Model) -> bool:
        results = [step(model).modified for step in self.steps]
        return any(results)


_FREE_INITIALIZERS = 4
"""From this IR version on, an initializer need not be an input."""


class SeparateInitializers(_LibraryPass):
    """IR 3 files list weights among the inputs, where a caller could replace them."""

    name = "separate_initializers"
    summary = "weights listed as inputs become constants"
    steps = (common.RemoveInitializersFromInputsPass(),)

    def apply(self, model: ir.Model) -> bool:
        modified = super().apply(model)
        if model.ir_version < _FREE_INITIALIZERS:
            model.ir_version, modified = _FREE_INITIALIZERS, True
        return modified


class InferShapes(_LibraryPass):
    """onnx's own shape inference, and what arithmetic with free sizes adds to it.

    The graph itself stays as it is, so it never counts as a change.
    """

    name = "infer_shapes"
    summary = "element types and shapes of intermediate values are filled in"
    # Not strict: one operator that onnx does not know must not leave every other shape unknown. Not
    # following numbers: onnx would write out a Tile or Range of gigabytes to know what is in it.
    steps = (common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False),)

    def apply(self, model: ir.Model) -> bool:
        if not _is_known(model):
            self._infer(model)
        if record(model) and not _is_known(model):
            self._infer(model)  # what follows from sizes that were computed, onnx may know
            record(model)
        return False

    def _infer(self, model: ir.Model) -> None:
        untyped = _untyped_lists(model)
        with _without_remarks("onnx_ir.passes.common.shape_inference"):
            super().apply(model)
        for value in untyped:
            value.type = value.shape = None


def _is_known(model: ir.Model) -> bool:
    """Whether nothing is left to infer; onnx takes seconds to find that out of a large graph."""
    return all(
        value.dtype is not None
        and value.shape is not None
        and not any(
            isinstance(size, ir.SymbolicDim)
            and (size.value is None or size.value.startswith("unk__"))
            for size in value.shape
        )
        for node in nodes_of(model)
        for value in node.outputs
        if value.name
    )


_LISTS = frozenset(
    {"SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap"}
    | {"SplitToSequence", "Optional", "OptionalGetElement"}
)
_PASS_ON = frozenset({"Identity", "If", "Loop", "Scan"})


def _untyped_lists(model: ir.Model) -> list[ir.Value]:
    """Values without a type that may be sequences: onnx-ir would type them as their elements."""
    nodes = list(nodes_of(model))
    if not any(node.op_type in _LISTS for node in nodes):
        return []
    suspects = (node for node in nodes if node.op_type in _LISTS | _PASS_ON)
    return [value for node in suspects for value in node.outputs if value.type is None]


@contextmanager
def _without_remarks(name: str) -> Iterator[None]:
    """A library's warnings with their tracebacks say nothing that our user could act on."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class LiftConstants(_LibraryPass):
    """One form for constants, so that every later pass looks in one place."""

    name = "lift_constants"
    summary = "Constant nodes become initializers"
    steps = (common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),)


class RemoveUnused(_LibraryPass):
    """Nodes, functions, weights and opset imports that no output needs."""

    name = "remove_unused"
    summary = "nodes and weights that no output needs are dropped"
    steps = (
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
    )
