"""Operators that stay one node of a domain of their own, with a function that says what they mean.

torch's exporter breaks every onnxscript function up into its nodes. Here a call becomes one node, and
the graph carries the function: an engine with a kernel for the node uses that, any other the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, cast

import onnx_ir as ir
import onnxscript
from onnxscript import evaluator
from torch.onnx import symbolic_helper

from modelport.errors import ExportError, UsageError
from modelport.frontends.rewrites.base import EXPORTERS, OperatorRewrite


class FunctionRewriteOfOperator(OperatorRewrite):
    """Writes an operator as a call of an onnxscript function.

    Args:
        function: its parameters are those of the operator, by position or name. One that is annotated
            `float`, `int`, `bool` or `str`, or a sequence of these, is an attribute of the node.
    """

    exporters = EXPORTERS

    def __init__(self, function: Any) -> None:
        if not isinstance(function, onnxscript.OnnxFunction):
            raise UsageError(
                f"A rewrite was given the {type(function).__name__} "
                f"{getattr(function, '__name__', '')!r} as a function of ONNX",
                expected="a function under onnxscript.script(Opset('my.domain', 1))",
            )
        self._function = function

    def functions(self) -> list[ir.Function]:
        called = self._function.function_ir.get_called_functions()
        return [_as_ir(each) for each in (self._function, *called.values())]

    def translation(self) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            inputs, attributes = self._sorted(bound.arguments)
            node = ir.Node(
                self._ir.domain,
                self._ir.name,
                inputs,
                ir.convenience.convert_attributes(attributes),
                num_outputs=len(self._ir.outputs),
                version=self._function.opset.version,
            )
            cast(Any, evaluator.default()).nodes.append(node)  # torch's own records so too
            return node.outputs[0] if len(node.outputs) == 1 else node.outputs

        return write

    def symbolic(self, g: Any, *args: Any) -> Any:
        names = list(self._signature.parameters)

        def write(g: Any, *values: Any) -> Any:
            inputs, attributes = self._sorted(dict(zip(names, values, strict=False)))
            typed = {f"{name}_{_suffix(value)}": value for name, value in attributes.items()}
            operator = f"{self._ir.domain}::{self._ir.name}"
            return g.op(operator, *inputs, outputs=len(self._ir.outputs), **typed)

        kinds = [self._kinds[name] if self._is_attribute(name) else "v" for name in names]
        write.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in ("g", *names)]
        )
        return cast(Any, symbolic_helper.parse_args)(*kinds)(write)(g, *args)

    @cached_property
    def _ir(self) -> ir.Function:
        return _as_ir(self._function)

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self._function.function)

    @cached_property
    def _kinds(self) -> dict[str, str]:
        """How an attribute's value is read and written, by the name of the parameter."""
        return dict(_kinds(self._function))

    def _is_attribute(self, name: str) -> bool:
        return name in self._ir.attributes

    def _sorted(self, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The inputs of the node, without those left out at the end, and its attributes."""
        attributes = {
            name: _converted(value, self._kinds[name])
            for name, value in values.items()
            if self._is_attribute(name) and value is not None
        }
        inputs = [value for name, value in values.items() if not self._is_attribute(name)]
        for name, value in values.items():
            if not self._is_attribute(name) and isinstance(value, (int, float, str, list, tuple)):
                raise ExportError(
                    f"The function {self._ir.name} is given {value!r} for its input {name!r}",
                    expected="a tensor",
                    hint=f"Annotate the parameter, {name}: float say, to make it an attribute",
                )
        while inputs and inputs[-1] is None:
            inputs.pop()
        return inputs, attributes


def _as_ir(function: onnxscript.OnnxFunction[Any, Any]) -> ir.Function:
    made: ir.Function = ir.from_proto(function.to_function_proto())
    return made


_KINDS = {
    ir.AttributeType.FLOAT: "f",
    ir.AttributeType.INT: "i",
    ir.AttributeType.STRING: "s",
    ir.AttributeType.FLOATS: "fs",
    ir.AttributeType.INTS: "is",
}


def _kinds(function: onnxscript.OnnxFunction[Any, Any]) -> Iterator[tuple[str, str]]:
    signature = function.op_signature
    assert signature is not None
    for parameter in signature.params:
        if isinstance(parameter, ir.schemas.AttributeParameter):
            if parameter.type not in _KINDS:
                raise UsageError(
                    f"The attribute {parameter.name!r} of {function.name} is a {parameter.type.name}",
                    expected="float, int, bool or str, or a sequence of floats or ints",
                )
            yield parameter.name, _KINDS[parameter.type]


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "f": float,
    "i": int,
    "s": str,
    "fs": lambda values: [float(value) for value in values],
    "is": lambda values: [int(value) for value in values],
}


def _converted(value: Any, kind: str) -> Any:
    """torch hands 2 over where its schema says float, and False where ONNX has integers only."""
    return _CONVERTERS[kind](value)


def _suffix(value: Any) -> str:
    """How `g.op` wants attributes to be named: it takes lists by the type of their elements."""
    first = value[0] if isinstance(value, list) and value else value
    return {float: "f", str: "s"}.get(type(first), "i")
