"""From the name of a target to what it names."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import nn

from modelport.errors import UsageError
from modelport.frontends.rewrites.base import FunctionRewrite, OperatorRewrite, Rewrite

ORIGINAL = "__modelport_original__"
"""Attribute of a replaced function that holds the one which was replaced."""


@dataclass(frozen=True)
class Place:
    """Where a target lives.

    Attributes:
        owner: the module or class that has it.
        attribute: its name there.
        value: what stands there now; the replacement of another rewrite while one is applied.
    """

    owner: Any
    attribute: str
    value: Any

    @property
    def original(self) -> Any:
        return getattr(self.value, ORIGINAL, self.value)


def find_place(rewrite: Rewrite, *, required: bool) -> Place | None:
    """The function or class that a rewrite names.

    Args:
        required: imports what is not imported yet, and raises where that can't be. Without it the
            answer is None then: what nobody has imported, no model uses.

    Raises:
        UsageError: where the package has no such name, or it is of another kind than the rewrite.
    """
    names = rewrite.target.split(".")
    if len(names) < 2 or not all(name.isidentifier() for name in names):
        raise UsageError(
            f"The rewrite {rewrite.name!r} replaces {rewrite.target!r}",
            expected="a dotted name such as torch.nn.functional.pad",
        )
    if names[0] not in sys.modules and not (required and _import(names[0])):
        if required:
            raise _unknown(rewrite, [names[0]], _top_level())
        return None
    if not required and _is_waiting(names[:-1]):
        return None
    owner, depth = _longest_module(names[:-1])
    for position, name in enumerate(names[depth:-1], start=depth):
        owner = _attribute(rewrite, owner, names[: position + 1], name)
    value = _attribute(rewrite, owner, names, names[-1])
    _check_kind(rewrite, value)
    return Place(owner, names[-1], value)


def _is_waiting(names: list[str]) -> bool:
    """Whether a file of the target is there and nobody has imported it: it may be slow to import."""
    parts = [".".join(names[:length]) for length in range(1, len(names) + 1)]
    return any(name not in sys.modules and _is_there(name) for name in parts)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a class, or is not there either
        return False


def _longest_module(names: list[str]) -> tuple[Any, int]:
    """A package may have a function by the name of one of its files; the file is meant then."""
    for length in range(len(names), 0, -1):
        module = _import(".".join(names[:length]))
        if module is not None:
            return module, length
    raise AssertionError(f"{names[0]} is imported")


def _import(name: str) -> ModuleType | None:
    if name in sys.modules:
        return sys.modules[name]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise


def _attribute(rewrite: Rewrite, owner: Any, names: list[str], name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        above = ".".join(names[:-1])
        raise _unknown(rewrite, names, (f"{above}.{other}" for other in dir(owner))) from None


def _check_kind(rewrite: Rewrite, value: Any) -> None:
    is_class = inspect.isclass(value)
    if isinstance(rewrite, FunctionRewrite):
        fits, wanted = callable(value) and not is_class, "a function"
    else:
        fits, wanted = is_class and issubclass(value, nn.Module), "a class derived from nn.Module"
    if not fits:
        raise UsageError(
            f"The {rewrite.kind} rewrite {rewrite.name!r} replaces {rewrite.target!r}, which is "
            f"{'the class' if is_class else 'an object of class'} "
            f"{value.__name__ if is_class else type(value).__name__}",
            expected=wanted,
        )


def find_overloads(rewrite: OperatorRewrite, *, required: bool) -> list[torch._ops.OpOverload]:
    """The overloads that a rewrite names; none where its namespace has no operators.

    Raises:
        UsageError: where the namespace has no such operator; also where it has none at all, if
            `required`.
    """
    namespace, separator, name = rewrite.target.partition("::")
    if not (separator and namespace and name):
        raise UsageError(
            f"The operator rewrite {rewrite.name!r} replaces {rewrite.target!r}",
            expected="namespace::operator, such as aten::roll",
        )
    known = torch._C._dispatch_get_all_op_names()
    if not required and not any(other.startswith(f"{namespace}::") for other in known):
        return []
    packet_name, _, overload = name.partition(".")
    packet = getattr(getattr(torch.ops, namespace), packet_name, None)
    if packet is None or (overload and overload not in packet.overloads()):
        wanted = known if overload else {other.partition(".")[0] for other in known}
        raise _unknown(rewrite, [rewrite.target], wanted)
    if overload:
        return [getattr(packet, overload)]
    every = [getattr(packet, each) for each in packet.overloads()]
    # An export has no operators that write into an argument.
    return [each for each in every if not each._schema.is_mutable]


def _top_level() -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def _unknown(rewrite: Rewrite, names: list[str], others: Iterable[str]) -> UsageError:
    missing = ".".join(names)
    near = difflib.get_close_matches(missing, list(others), n=1)
    return UsageError(
        f"There is no {missing!r}, and the rewrite {rewrite.name!r} replaces {rewrite.target!r}",
        expected="the dotted name of what exists here",
        hint=f"Perhaps you meant {near[0]!r}" if near else None,
    )
