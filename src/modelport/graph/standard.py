"""Checks a graph by ONNX's own rules."""

from __future__ import annotations

import onnx_ir as ir
from onnx import checker  # noqa: TID251  (it checks onnx's own classes)

from modelport.errors import GraphError

_LARGE_BYTES = 4096


def check(model: ir.Model) -> None:
    """Raises GraphError where ONNX's checker does; large weights stay where they are.

    The checker wants the whole model in one message of protobuf, which ends at 2 GiB. In the copy that it
    sees, large weights are inputs.
    """
    copy = model.clone()
    for name, value in list(copy.graph.initializers.items()):
        if value.const_value is not None and value.const_value.nbytes > _LARGE_BYTES:
            del copy.graph.initializers[name]
            value.const_value = None
            if not value.is_graph_input():
                copy.graph.inputs.append(value)
    try:
        checker.check_model(ir.to_proto(copy), full_check=True)
    except Exception as error:  # the checker's own, and those of shape inference and of protobuf
        raise GraphError(
            f"The graph breaks a rule of ONNX ({' '.join(str(error).split())[:400]})"
        ) from error
