"""What a module keeps between two runs: buffers, parameters and attributes of its own."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from modelport.frontends.preflight.finding import Finding, Place, finding
from modelport.frontends.preflight.runs import alike

_CLEAR = (type(None), bool, int, float, complex, str, bytes, torch.Tensor, list, dict, tuple)


class State:
    """The state of a module at one moment, to compare with and to go back to."""

    def __init__(self, module: nn.Module) -> None:
        self._parts = {path: (part, _content(part)) for path, part in module.named_modules()}

    def changes(self) -> list[tuple[str, str]]:
        """Module path and name of all that is another now."""
        return [
            (path, name)
            for path, (part, before) in self._parts.items()
            for name in _differing(before, _content(part, copy=False))
        ]

    def restore(self) -> None:
        with torch.no_grad():
            for path, name in self.changes():
                part, before = self._parts[path]
                _put(part, name, before)


def _content(part: nn.Module, copy: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {**part._buffers, **dict(_own_attributes(part))}
    return {name: _copied(value) for name, value in found.items()} if copy else found


def _own_attributes(part: nn.Module) -> Iterator[tuple[str, Any]]:
    known = vars(nn.Module()).keys()
    for name, value in vars(part).items():
        if name not in known and isinstance(value, _CLEAR):
            yield name, value


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _differing(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for name in {**before, **after}:
        if name not in before or name not in after or not _same(before[name], after[name]):
            yield name


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return alike(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return not isinstance(one, _CLEAR) or bool(one == other)


def _put(part: nn.Module, name: str, before: dict[str, Any]) -> None:
    if name not in before:
        delattr(part, name)
    elif name in part._buffers:
        buffer, value = part._buffers[name], before[name]
        if isinstance(buffer, torch.Tensor) and buffer.shape == value.shape:
            buffer.copy_(value)
        else:
            part._buffers[name] = value
    else:
        vars(part)[name] = _copied(before[name])


def state_findings(module: nn.Module, changes: list[tuple[str, str]]) -> Iterator[Finding]:
    """For what changes while the module runs, and changes the results of the next run."""
    for path, name in changes:
        part = module.get_submodule(path)
        kind = "buffer" if name in part._buffers else "attribute"
        yield finding(
            "state",
            "error",
            f"The {kind} {name!r} changes while the module runs, and the next result with it",
            "Make it an input and an output of forward, or keep it as it is in inference mode",
            _line_that_sets(part, path, name),
        )


def _line_that_sets(part: nn.Module, path: str, name: str) -> Place:
    for method in _methods(type(part)):
        try:
            lines, first = inspect.getsourcelines(method)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if _sets(node, name):
                file = inspect.unwrap(method).__code__.co_filename
                return Place(file, first + node.lineno - 1, path)  # type: ignore[attr-defined]
    return Place(None, None, path)


def _methods(kind: type) -> Iterator[Any]:
    for base in kind.__mro__:
        if not base.__module__.startswith("torch."):
            yield from (
                value
                for name, value in vars(base).items()
                if inspect.isfunction(value) and name != "__init__"
            )


def _sets(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Assign):
        return any(_is_attribute(target, name) for target in node.targets)
    if isinstance(node, ast.AugAssign):
        return _is_attribute(node.target, name)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        edits = node.func.attr.endswith("_") or node.func.attr in ("append", "update", "extend")
        return edits and _is_attribute(node.func.value, name)
    return False


def _is_attribute(node: ast.AST, name: str) -> bool:
    """`self.name`, or a part of it."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, ast.Attribute) and node.attr == name
