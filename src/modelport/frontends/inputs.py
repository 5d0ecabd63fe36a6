"""What a module is called with: a tree of arguments whose leaves are the inputs of the graph."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from modelport.errors import UsageError
from modelport.frontends.examples import read_examples
from modelport.types import INPUT_GRAMMAR, Array, Feeds, TensorSpec


@dataclass(frozen=True)
class Leaf:
    """Where the tensor of that input goes."""

    index: int
    is_complex: bool = False


@dataclass
class Inputs:
    """Attributes:
    specs: name, element type and sizes of every tensor, in the order of the graph's inputs.
    examples: the user's own tensors by name, where every input has one.
    args, kwargs: what `forward` is called with, a `Leaf` in the place of every tensor.
    given: feeds that take the place of random ones.
    """

    specs: list[TensorSpec]
    examples: dict[str, Array] | None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    given: list[Feeds] = field(default_factory=list)

    def bind(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with those tensors in their places."""
        args = tuple(_filled(value, tensors) for value in self.args)
        return args, {name: _filled(value, tensors) for name, value in self.kwargs.items()}


def read_inputs(inputs: Any, module: nn.Module, examples: Any = ()) -> Inputs:
    """Reads specifications or examples.

    Args:
        inputs: one item, a list by position, or a mapping by the names of what `forward` takes. An
            item is text (`image=1x3x224x224`, or `1x3x224x224`), a TensorSpec, a tensor or array, a
            container or dataclass of these, or any other value, which is passed as it is.
        examples: see `Source.examples`.

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
    return Inputs(
        reader.specs,
        reader.examples if complete else None,
        args,
        kwargs,
        read_examples(examples, reader.specs),
    )


class _Reader:
    """Turns items into trees and notes the tensors on the way."""

    def __init__(self, parameters: _Parameters) -> None:
        self._parameters = parameters
        self.specs: list[TensorSpec] = []
        self.examples: dict[str, Array] = {}

    def tree(self, item: Any, name: str, parameter: str) -> Any:
        if isinstance(item, TensorSpec) or (isinstance(item, str) and _is_shape(item)):
            return self._leaf(_spec(item, name))
        if isinstance(item, (torch.Tensor, np.ndarray)):
            return self._example(item, name)
        if isinstance(item, Mapping):
            parts = {key: self.tree(value, f"{name}.{key}", "") for key, value in item.items()}
            return self._parameters.contained(parts, parameter, isinstance(item, _Dotted))
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return _changed(item, lambda key, value: self.tree(value, f"{name}.{key}", ""))
        if isinstance(item, (list, tuple)):
            parts_ = zip(getattr(item, "_fields", range(len(item))), item, strict=True)
            return _like(item, [self.tree(value, f"{name}.{key}", "") for key, value in parts_])
        return item

    def _example(self, item: torch.Tensor | Array, name: str) -> Leaf:
        array = _array(item, name)
        leaf = self._leaf(TensorSpec(name, array.dtype.name, tuple(array.shape)))
        spec = self.specs[leaf.index]
        if leaf.is_complex:
            array = np.stack([array.real, array.imag], axis=-1)
        self.examples[name] = np.ascontiguousarray(array).reshape(array.shape).astype(spec.dtype)
        return leaf

    def _leaf(self, spec: TensorSpec) -> Leaf:
        """Engines have no complex numbers: these come in as pairs, on an axis of their own."""
        real = _REAL.get(spec.dtype)
        if real is not None:
            spec = TensorSpec(spec.name, real, (*spec.shape, 2))
        self.specs.append(spec)
        return Leaf(len(self.specs) - 1, is_complex=real is not None)


_REAL = {"complex64": "float32", "complex128": "float64"}


def _is_shape(text: str) -> bool:
    """Whether text can be meant as a shape; other text is an argument of the module's own."""
    return "=" in text or text == "scalar" or any(letter.isdigit() for letter in text)


class _Parameters:
    """What `forward` takes."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        found = parameters_of(module)
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

    def contained(self, parts: dict[Any, Any], parameter: str, dotted: bool) -> Any:
        """Parts in the dataclass or named tuple that a parameter is annotated with, else as they are.

        Dotted names that end in 0, 1, 2 and so on are those of a list.
        """
        kind = self._annotation(parameter)
        if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
            try:
                return kind(**parts)
            except TypeError as error:
                raise UsageError(
                    f"The inputs {', '.join(f'{parameter}.{key}' for key in parts)} do not make a "
                    f"{kind.__name__} ({error})",
                    expected="one for each of its fields that has no default",
                ) from error
        is_list = dotted and list(parts) == [str(index) for index in range(len(parts))]
        is_mapping = (typing.get_origin(kind) or kind) in (dict, Mapping)
        return list(parts.values()) if is_list and not is_mapping else parts

    def _annotation(self, parameter: str) -> Any:
        try:
            return typing.get_type_hints(self._module.forward).get(parameter)
        except Exception:  # annotations may name what is only imported for type checking
            return None

    def arrange(self, trees: list[tuple[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """By keyword where all names are those of `forward`, else by position."""
        given = [name for name, _ in trees]
        if self._are_names(given):
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

    def _are_names(self, given: list[str]) -> bool:
        """Whether these are names of `forward`, or may be: `**kwargs` takes any beside the others."""
        if all(name in self.keyword for name in given):
            return True
        by_position = self.takes_more and any(re.fullmatch(r"input_\d+", name) for name in given)
        return (
            self.takes_any_name and not by_position and all(name in given for name in self.required)
        )

    def _place(self, name: str) -> int:
        return self.keyword.index(name) if name in self.keyword else len(self.keyword)

    def in_order(self, items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Items under the names of `forward` in its order; others as they are."""
        if self._are_names([name for name, _ in items]):
            return sorted(items, key=lambda item: self._place(item[0]))
        return items


def parameters_of(module: nn.Module) -> list[inspect.Parameter]:
    """What `forward` takes; of a script, which Python cannot look into, by its schema."""
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
    if all(own):
        named = [(str(name), item) for name, item in zip(own, items, strict=True)]
        return parameters.in_order(named)
    names = parameters.names_for(len(items))
    named = [(name or default, item) for name, default, item in zip(own, names, items, strict=True)]
    # Text in a list is a specification, whatever it looks like: the command line has no other.
    return [(name, _spec(item, name) if isinstance(item, str) else item) for name, item in named]


def _own_name(item: Any) -> str | None:
    if isinstance(item, TensorSpec):
        return item.name
    return TensorSpec.parse(item).name if isinstance(item, str) and "=" in item else None


class _Dotted(dict[str, Any]):
    """What dotted names stand for, as opposed to a mapping that the user made."""


def _nested(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Dotted names become mappings: `batch.image` is the entry `image` of the argument `batch`."""
    roots: dict[str, Any] = {}
    for name, given in items:
        item = dict(given) if type(given) is dict else given  # others may add to it
        *parents, last = name.split(".")
        place = roots
        for parent in parents:
            place = place.setdefault(parent, _Dotted())
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
        tensor = tensors[tree.index]
        return torch.view_as_complex(tensor) if tree.is_complex else tensor
    if isinstance(tree, dict):
        return {key: _filled(value, tensors) for key, value in tree.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return _changed(tree, lambda _, value: _filled(value, tensors))
    if isinstance(tree, (list, tuple)):
        return _like(tree, [_filled(value, tensors) for value in tree])
    return tree


def _changed(instance: Any, change: Callable[[str, Any], Any]) -> Any:
    """A copy of a dataclass with every field changed; its constructor may want other arguments."""
    made = copy.copy(instance)
    for entry in dataclasses.fields(instance):
        object.__setattr__(made, entry.name, change(entry.name, getattr(instance, entry.name)))
    return made


def _array(item: torch.Tensor | Array, name: str) -> Array:
    if isinstance(item, np.ndarray):
        return item
    try:
        return np.asarray(item.detach().cpu().numpy())
    except (TypeError, RuntimeError) as error:
        raise UsageError(
            f"The input {name!r} has the element type {str(item.dtype).removeprefix('torch.')}",
            expected="a dense tensor of a type that numpy has",
            hint="Convert the model and its inputs with .float()",
        ) from error


def _like(container: Any, items: list[Any]) -> Any:
    if hasattr(container, "_fields"):  # a named tuple takes its entries one by one
        return type(container)(*items)
    return type(container)(items)


def _demand_distinct(names: list[str]) -> None:
    if not names:
        raise UsageError("No input is a tensor", expected=f"at least one, as {INPUT_GRAMMAR}")
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
