"""`net.op`: every standard operator, as its specification has it."""

from __future__ import annotations

import inspect
from typing import Any

from modelport.frontends.network.core import Core, since
from modelport.frontends.network.mistakes import Refused, nearest
from modelport.frontends.network.tensor import Tensor, written
from modelport.graph import schemas


class Operators:
    """`net.op.Conv(x, weight, pads=[1, 1, 1, 1])`: inputs by position or name, attributes by name."""

    def __init__(self, net: Core) -> None:
        self._net = net

    def __getattr__(self, name: str) -> Call:
        rule = schemas.operator(name, self._net.opset)
        if name.startswith("__"):
            raise AttributeError(name)
        if rule is None or rule.deprecated:
            self._refuse(name)
        assert rule is not None
        return Call(self._net, rule)

    def __dir__(self) -> list[str]:
        return list(schemas.operators(self._net.opset))

    def _refuse(self, name: str) -> None:
        known = schemas.operators(self._net.opset)
        with self._net.calling(f"op.{name}"):
            if schemas.opsets_of(name):
                rule = schemas.operator(name, self._net.opset)
                gone = f"ONNX gave up {name}" if rule else f"opset {self._net.opset} lacks {name}"
                raise Refused(gone, hint=None if rule else since(name))
            raise Refused(
                f"ONNX has no operator {name!r}",
                expected=f"one of the {len(known)} names that dir(net.op) lists",
                hint=nearest(name, known),
            )


class Call:
    """One operator, to be called."""

    def __init__(self, net: Core, rule: schemas.Operator) -> None:
        self._net = net
        self._rule = rule
        self.__name__ = rule.name
        self.__doc__ = rule.text
        self.__signature__ = _signature(rule)

    def __repr__(self) -> str:
        return f"<net.op.{self._rule.name}{self.__signature__}>"

    def __call__(
        self, *inputs: Any, outputs: int | None = None, **named: Any
    ) -> Tensor | tuple[Tensor, ...]:
        """The outputs, in a tuple where there are several.

        Args:
            inputs: tensors, arrays or numbers; None for one left out.
            outputs: how many to give; by default those that the operator always gives.
            named: attributes, and inputs by their names.

        Raises:
            UsageError: where they are not those of the operator, or their types or shapes do not fit.
        """
        rule = self._rule
        with self._net.calling(f"op.{rule.name}"):
            given = _all_inputs(rule, inputs, named)
            attributes = {key: v for key, v in named.items() if key not in _input_names(rule)}
            known = {key: value for key, value in attributes.items() if value is not None}
            count = self._count(outputs, given, known)
            _check_channels(rule.name, given, known)
            found = self._net.node(rule.name, given, known, outputs=count)
        return found[0] if count == 1 else tuple(found)

    def _count(self, wanted: int | None, inputs: list[Any], attributes: dict[str, Any]) -> int:
        least, most = self._rule.outputs_range
        count = max(least, 1) if wanted is None else wanted
        if wanted is None and self._rule.outputs and self._rule.outputs[-1].option == "variadic":
            count = self._pieces(inputs, attributes)
        if not max(least, 1) <= count <= most:
            raise Refused(
                f"{self._rule.name} cannot give {count} outputs",
                expected=f"{least} to {most}" if most > least else str(least),
            )
        return count

    def _pieces(self, inputs: list[Any], attributes: dict[str, Any]) -> int:
        if "num_outputs" in attributes:
            return int(attributes["num_outputs"])
        if self._rule.name == "Split" and len(inputs) > 1 and not isinstance(inputs[1], Tensor):
            return len(inputs[1])
        raise Refused(
            f"{self._rule.name} gives any number of outputs",
            hint="Say how many: outputs=2",
        )


def _check_channels(operator: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    """What ONNX's inference leaves to engines."""
    if operator not in ("Conv", "ConvTranspose"):
        return
    shapes: list[tuple[Any, ...]] = [getattr(each, "shape", ()) for each in inputs]
    given, weight = shapes[0], shapes[1]
    groups = attributes.get("group", 1)
    if len(given) != len(weight) or len(given) < 3:
        return
    channels, wanted = given[1], weight[1] * groups if operator == "Conv" else weight[0]
    if isinstance(channels, int) and isinstance(wanted, int) and channels != wanted:
        raise Refused(
            f"the input has {channels} channels, the weight of shape {written(weight)} expects "
            f"{wanted}"
        )


def _input_names(rule: schemas.Operator) -> set[str]:
    return {each.name for each in rule.inputs} - set(rule.attributes)


def _all_inputs(
    rule: schemas.Operator, inputs: tuple[Any, ...], named: dict[str, Any]
) -> list[Any]:
    """Inputs in their order; a list for a variadic one counts as its members."""
    found = list(inputs)
    if len(found) == 1 and isinstance(found[0], (list, tuple)) and _is_variadic(rule):
        found = list(found[0])
    for index, formal in enumerate(rule.inputs):
        if formal.name not in named or formal.name in rule.attributes:
            continue
        if index < len(inputs):
            raise Refused(f"{rule.name} was given its input {formal.name} twice")
        found += [None] * (index + 1 - len(found))
        found[index] = named[formal.name]
    while found and found[-1] is None and len(found) > rule.inputs_range[0]:
        found.pop()
    return found


def _is_variadic(rule: schemas.Operator) -> bool:
    return len(rule.inputs) == 1 and rule.inputs[0].option == "variadic"


def _signature(rule: schemas.Operator) -> inspect.Signature:
    """For help(), completion and the display in notebooks."""
    kinds = inspect.Parameter
    parts = []
    for each in rule.inputs:
        kind = kinds.VAR_POSITIONAL if each.option == "variadic" else kinds.POSITIONAL_OR_KEYWORD
        default = None if each.option == "optional" else kinds.empty
        parts.append(kinds(each.name, kind, default=default))
    for name, attribute in rule.attributes.items():
        default = kinds.empty if attribute.required else attribute.default
        parts.append(kinds(name, kinds.KEYWORD_ONLY, default=default))
    try:
        return inspect.Signature(parts)
    except ValueError:  # a name twice, or an order that Python does not write
        return inspect.Signature()
