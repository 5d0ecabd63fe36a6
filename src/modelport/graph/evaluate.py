"""Evaluates one node on constants with onnx's reference operators."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx_ir as ir
from onnx import NodeProto  # noqa: TID251  (the reference takes protos)
from onnx.reference import ReferenceEvaluator  # noqa: TID251
from onnx.reference.op_run import OpRun  # noqa: TID251

from modelport.errors import GraphError
from modelport.types import Array


def evaluate(node: ir.Node, inputs: list[Array | None], opset: int) -> list[Array]:
    """The node's outputs, by the definition of its operator.

    Args:
        inputs: one array for each input of the node, None where that is left out.

    Raises:
        GraphError: where the reference has no such operator or cannot evaluate it.
    """
    try:
        proto = ir.serde.serialize_node(node)
        _rename(proto)
        evaluator = _evaluator(proto.SerializeToString(deterministic=True), opset)
        feeds = {name: array for name, array in zip(proto.input, inputs, strict=True) if name}
        return list(evaluator.run(list(proto.output), feeds))
    except Exception as error:
        raise GraphError(f"{node.op_type} cannot be evaluated: {error}") from error


def _rename(proto: NodeProto) -> None:
    """Nodes that differ in names alone come out equal."""
    for names, letter in ((proto.input, "i"), (proto.output, "o")):
        for index, name in enumerate(names):
            if name:
                names[index] = f"{letter}{index}"
    proto.name = proto.doc_string = ""
    del proto.metadata_props[:]


@lru_cache(maxsize=256)
def _evaluator(node: bytes, opset: int) -> ReferenceEvaluator:
    """Setting one up takes far longer than running it, and large graphs repeat themselves."""
    return ReferenceEvaluator(
        NodeProto.FromString(node), opsets={"": opset}, new_ops=[GatherElements]
    )


class GatherElements(OpRun):  # type: ignore[misc]
    """As the standard has it; onnx's fails where indices are fewer than elements along other axes."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int | None = None) -> tuple[Array]:
        axis = axis or 0
        places: list[Array] = list(np.indices(indices.shape, sparse=True))
        places[axis] = np.where(indices < 0, indices + data.shape[axis], indices)
        return (data[tuple(places)],)
