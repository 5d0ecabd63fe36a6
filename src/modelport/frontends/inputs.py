"""What a module is called with: a tree of arguments whose leaves are the inputs of the graph."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from modelport.errors import UsageError
from modelport.types import Array, TensorSpec


@dataclass(frozen=True)
class Leaf:
    """Where the tensor of that input goes."""

    index: int


@dataclass
class Inputs:
    """Attributes:
    specs: name, element type and sizes of every tensor, in the order of the graph's inputs.
    examples: the user's own tensors by name, where every input has one.
    args, kwargs: what `forward` is called with, a `Leaf` in the place of every tensor.
    """

    specs: list[TensorSpec]
    examples: dict[str, Array] | None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def bind(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with those tensors in their places."""
        args = tuple(_filled(value, tensors) for value in self.args)
        return args, {name: _filled(value, tensors) for name, value in self.kwargs.items()}


def read_inputs(inputs: Any, module: nn.Module) -> Inputs:
    """Reads specifications or examples.

    Args:
        inputs: one item, a list by position, or a mapping by the names of what `forward` takes. An
            item is text (`image=1x3x224x224`, or `1x3x224x224`), a TensorSpec, a tensor or array, a
            container or dataclass of these, or any other value, which is passed as it is.

    Raises:
        UsageError: where nothing is given, or what is given does not fit `forward`.
    """
    if inputs is None:
        raise UsageError(
            f"The inputs of {type(module).__name__} are not known",
            expected="one specification for each input of forward",
            hint="Pass --input image=1x3x224x224, or inputs= in Python or in the Source",
        )
    parameters = _Parameters(module)
    items = _nested(_named(inputs, parameters))
    reader = _Reader(parameters)
    trees = [(name, reader.tree(item, name, name)) for name, item in items]
    _demand_distinct([spec.name for spec in reader.specs])
    complete = len(reader.examples) == len(reader.specs)
    args, kwargs = parameters.arrange(trees)
    return Inputs(reader.specs, reader.examples if complete else None, args, kwargs)


class _Reader:
    """Turns items into trees and notes the tensors on the way."""

    def __init__(self, parameters: _Parameters) -> None:
        self._parameters = parameters
        self.specs: list[TensorSpec] = []
        self.examples: dict[str, Array] = {}

    def tree(self, item: Any, name: str, parameter: str) -> Any:
        if isinstance(item, (str, TensorSpec)):
            return self._leaf(_spec(item, name))
        if isinstance(item, (torch.Tensor, np.ndarray)):
            array = item.detach().cpu().numpy() if isinstance(item, torch.Tensor) else item
            self.examples[name] = array
            return self._leaf(TensorSpec(name, array.dtype.name, tuple(array.shape)))
        if isinstance(item, Mapping):
            parts = {key: self.tree(value, f"{name}.{key}", "") for key, value in item.items()}
            kind = self._parameters.container(parameter)
            return parts if kind is None else kind(**parts)
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            entries = {entry.name: getattr(item, entry.name) for entry in dataclasses.fields(item)}
            return dataclasses.replace(
                item,
                **{key: self.tree(value, f"{name}.{key}", "") for key, value in entries.items()},
            )
        if isinstance(item, (list, tuple)):
            return _like(item, [self.tree(v, f"{name}.{i}", "") for i, v in enumerate(item)])
        return item

    def _leaf(self, spec: TensorSpec) -> Leaf:
        self.specs.append(spec)
        return Leaf(len(self.specs) - 1)


class _Parameters:
    """What `forward` takes."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        found = _parameters(module)
        self.positional = [
            p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.keyword = [
            p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        self.takes_more = any(p.kind is p.VAR_POSITIONAL for p in found)
        self.takes_any_name = any(p.kind is p.VAR_KEYWORD for p in found)
        self.required = [
            p.name for p in found
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]  # fmt: skip

    @property
    def _forward(self) -> str:
        return f"forward of {type(self._module).__name__}"

    def names_for(self, count: int) -> list[str]:
        """Names for items given by position."""
        names = [parameter.name for parameter in self.positional]
        if count > len(names) and not self.takes_more:
            raise UsageError(
                f"{count} inputs were given, and {self._forward} takes {len(names)}"
                + (f" by position ({', '.join(names)})" if names else "")
            )
        return [*names, *(f"input_{index}" for index in range(len(names), count))][:count]

    def container(self, parameter: str) -> type | None:
        """The dataclass or named tuple that a parameter is annotated with."""
        try:
            kind = typing.get_type_hints(self._module.forward).get(parameter)
        except Exception:  # annotations may name what is only imported for type checking
            return None
        known = dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")
        return kind if isinstance(kind, type) and known else None

    def arrange(self, trees: list[tuple[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """By keyword where all names are those of `forward`, else by position."""
        given = [name for name, _ in trees]
        if all(name in self.keyword for name in given) or (
            self.takes_any_name and not self.positional
        ):
            missing = [name for name in self.required if name not in given]
            if missing:
                raise UsageError(
                    f"Inputs were given for {', '.join(given)}, and {self._forward} takes "
                    f"{', '.join(map(repr, missing))} too",
                    expected=f"one for each of {', '.join(self.required)}",
                )
            return (), dict(sorted(trees, key=lambda tree: self._place(tree[0])))
        self.names_for(len(trees))
        needed = [name for name in self.required if name in {p.name for p in self.positional}]
        if len(trees) < len(needed):
            raise UsageError(
                f"{len(trees)} of the inputs were given ({', '.join(given)}), and {self._forward} "
                f"takes {', '.join(needed)}",
                expected="one for each of them, in that order or under these names",
            )
        return tuple(tree for _, tree in trees), {}

    def _place(self, name: str) -> int:
        return self.keyword.index(name) if name in self.keyword else len(self.keyword)

    def in_order(self, items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Items under the names of `forward` in its order; others as they are."""
        if all(name in self.keyword for name, _ in items):
            return sorted(items, key=lambda item: self._place(item[0]))
        return items


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    if not isinstance(module, torch.jit.ScriptModule):
        return list(inspect.signature(module.forward).parameters.values())
    return [
        inspect.Parameter(
            argument.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=argument.default_value
            if argument.has_default_value()
            else inspect.Parameter.empty,
        )
        for argument in cast(Any, module.forward).schema.arguments[1:]
    ]


def _named(inputs: Any, parameters: _Parameters) -> list[tuple[str, Any]]:
    """Items with the names they were given, or else those of `forward` by position."""
    if isinstance(inputs, Mapping):
        return parameters.in_order([(str(name), item) for name, item in inputs.items()])
    items: Sequence[Any] = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    own = [_own_name(item) for item in items]
    if all(own) and len({name.split(".")[0] for name in own if name}) <= len(items):
        named = [(str(name), item) for name, item in zip(own, items, strict=True)]
        return parameters.in_order(named)
    names = parameters.names_for(len(items))
    return [(name or default, item) for name, default, item in zip(own, names, items, strict=True)]


def _own_name(item: Any) -> str | None:
    if isinstance(item, TensorSpec):
        return item.name
    return TensorSpec.parse(item).name if isinstance(item, str) and "=" in item else None


def _nested(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Dotted names become mappings: `batch.image` is the entry `image` of the argument `batch`."""
    roots: dict[str, Any] = {}
    for name, item in items:
        *parents, last = name.split(".")
        place = roots
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict) or last in place:
            raise UsageError(f"The input {name!r} is given twice", expected="each input once")
        place[last] = item
    return list(roots.items())


def _spec(item: str | TensorSpec, name: str) -> TensorSpec:
    if isinstance(item, TensorSpec):
        return item
    spec = TensorSpec.parse(item if "=" in item else f"{name}={item}")
    return spec if "=" in item else TensorSpec(name, spec.dtype, spec.shape)


def _filled(tree: Any, tensors: Sequence[torch.Tensor]) -> Any:
    if isinstance(tree, Leaf):
        return tensors[tree.index]
    if isinstance(tree, dict):
        return {key: _filled(value, tensors) for key, value in tree.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        entries = {entry.name: getattr(tree, entry.name) for entry in dataclasses.fields(tree)}
        filled = {key: _filled(value, tensors) for key, value in entries.items()}
        return dataclasses.replace(tree, **filled)
    if isinstance(tree, (list, tuple)):
        return _like(tree, [_filled(value, tensors) for value in tree])
    return tree


def _like(container: Any, items: list[Any]) -> Any:
    if hasattr(container, "_fields"):  # a named tuple takes its entries one by one
        return type(container)(*items)
    return type(container)(items)


def _demand_distinct(names: list[str]) -> None:
    if not names:
        raise UsageError("No input is a tensor", expected="at least one")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"The input {name!r} is given twice", expected="each input once")


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested result with its dotted name; containers are taken apart."""
    if isinstance(tree, Mapping):
        entries = [(str(key), value) for key, value in tree.items()]
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        entries = [(entry.name, getattr(tree, entry.name)) for entry in dataclasses.fields(tree)]
    elif hasattr(tree, "_fields"):
        entries = list(zip(tree._fields, tree, strict=True))
    elif isinstance(tree, (list, tuple)):
        entries = [(str(index), value) for index, value in enumerate(tree)]
    else:
        yield name, tree
        return
    for key, value in entries:
        yield from leaves(value, f"{name}.{key}" if name else key)
