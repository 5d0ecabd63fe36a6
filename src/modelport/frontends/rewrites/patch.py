"""Puts replacements in place, each for as long as a `with` block runs."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch import nn
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from modelport.errors import ExportError, ModelportError
from modelport.frontends.rewrites.base import FunctionRewrite, ModuleRewrite, OperatorRewrite
from modelport.frontends.rewrites.fired import Log
from modelport.frontends.rewrites.targets import ORIGINAL, Place


def replacement_of(rewrite: FunctionRewrite, original: Callable[..., Any], log: Log) -> Any:
    """A function that stands in for `original`, and notes each call that it changes.

    While `original` runs its name means itself again: torch's functions call themselves by name once
    more for each mode that watches them, and an export is one.
    """
    inside = [False]

    def plain(*args: Any, **kwargs: Any) -> Any:
        before, inside[0] = inside[0], True
        try:
            return original(*args, **kwargs)
        finally:
            inside[0] = before

    @functools.wraps(original, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def replacement(*args: Any, **kwargs: Any) -> Any:
        result = NotImplemented if inside[0] else rewrite.replace(plain, *args, **kwargs)
        if result is NotImplemented:
            return plain(*args, **kwargs)
        log.note_caller(rewrite.name)
        return result

    setattr(replacement, ORIGINAL, original)
    return replacement


@contextmanager
def functions_replaced(places: list[tuple[Place, Any]], root: nn.Module) -> Iterator[None]:
    """Binds each replacement wherever the function that stands at its place is bound.

    That is in every module that has been imported, and in the attributes of the modules in `root`. A
    module that is imported meanwhile binds replacements; they too are taken back.
    """
    built_in = [entry for entry in places if entry[0].owner is builtins]
    elsewhere = [entry for entry in places if entry[0].owner is not builtins]
    there = {id(place.value): replacement for place, replacement in elsewhere}
    back = {id(replacement): place.value for place, replacement in elsewhere}
    methods = [entry for entry in elsewhere if not isinstance(entry[0].owner, ModuleType)]
    kept = [_set_method(place, replacement) for place, replacement in methods]
    kept += [
        _shadow(space, place.attribute, replacement)
        for place, replacement in built_in
        for space in _files_of(root)
        if place.attribute not in space
    ]
    try:
        _rebind(there, root)
        yield
    finally:
        _rebind(back, root)
        for undo in reversed(kept):
            undo()


def _files_of(root: nn.Module) -> list[dict[str, Any]]:
    """The global names of the files that the classes in the tree come from, but for torch's."""
    classes = {cls for part in root.modules() for cls in type(part).__mro__}
    names = {cls.__module__ for cls in classes if issubclass(cls, nn.Module)}
    own = sorted(name for name in names if name.partition(".")[0] not in _NOT_THE_MODEL)
    return [vars(sys.modules[name]) for name in own if _is_module(sys.modules.get(name))]


_NOT_THE_MODEL = ("torch", "modelport")


def _shadow(space: dict[str, Any], name: str, replacement: Any) -> Callable[[], None]:
    """Puts a name before the built-in one of a file; returns what takes it away."""
    space[name] = replacement
    return lambda: space.pop(name, None)


def _set_method(place: Place, replacement: Any) -> Callable[[], None]:
    """Replaces a method in its class alone; returns what takes it back."""
    inherited = place.attribute not in vars(place.owner)
    before = inspect.getattr_static(place.owner, place.attribute)
    wrapped = staticmethod(replacement) if isinstance(before, staticmethod) else replacement
    setattr(place.owner, place.attribute, wrapped)
    if inherited:
        return lambda: delattr(place.owner, place.attribute)
    return lambda: setattr(place.owner, place.attribute, before)


def _rebind(replacements: Mapping[int, Any], root: nn.Module) -> None:
    if not replacements:
        return
    spaces = [vars(module) for module in list(sys.modules.values()) if _is_module(module)]
    for space in [*spaces, *(vars(part) for part in root.modules())]:
        for name, value in list(space.items()):
            if id(value) in replacements:
                space[name] = replacements[id(value)]


def _is_module(value: Any) -> bool:
    return isinstance(value, ModuleType)


@contextmanager
def modules_replaced(
    rewrites: Mapping[type, ModuleRewrite], root: nn.Module, log: Log
) -> Iterator[nn.Module]:
    """Replaces modules from the innermost outwards; gives the root, which may be another one."""
    undo: list[tuple[nn.Module, str, nn.Module]] = []
    done: dict[int, nn.Module] = {}

    def visit(module: nn.Module, path: str) -> nn.Module:
        if id(module) not in done:
            for name, child in list(module.named_children()):
                for each, value in list(module._modules.items()):
                    if value is child:
                        new = visit(child, f"{path}.{name}" if path else name)
                        if new is not child:
                            undo.append((module, each, child))
                            module._modules[each] = new
            done[id(module)] = _replaced(module, path, rewrites, log)
        return done[id(module)]

    try:
        yield visit(root, "") if rewrites else root
    finally:
        for parent, name, child in reversed(undo):
            parent._modules[name] = child


def _replaced(
    module: nn.Module, path: str, rewrites: Mapping[type, ModuleRewrite], log: Log
) -> nn.Module:
    rewrite = _rewrite_for(module, rewrites)
    if rewrite is None or module._forward_hooks or module._forward_pre_hooks:
        return module
    before = {id(part) for part in module.modules()}
    try:
        new = rewrite.replace(module)
        if not isinstance(new, nn.Module):
            raise TypeError(f"replace returned a {type(new).__name__}, not an nn.Module")
    except ModelportError:
        raise
    except Exception as error:
        raise ExportError(
            f"The rewrite {rewrite.name!r} cannot replace a {type(module).__name__}: "
            f"{type(error).__name__}: {error}",
            hint="Let replace return the module itself where it has nothing to offer",
            module_path=path or None,
        ) from error
    for part in new.modules():
        if id(part) not in before:
            part.training = module.training
    if new is not module:
        log.learn(new, path)
        log.note(rewrite.name, path, None)
    return new


def _rewrite_for(module: nn.Module, rewrites: Mapping[type, ModuleRewrite]) -> ModuleRewrite | None:
    """That of the nearest class whose `forward` the module still has."""
    for cls in type(module).__mro__:
        if cls in rewrites:
            same = getattr(cls, "forward", None) is type(module).forward
            return rewrites[cls] if same else None
    return None


def noted_translation(
    rewrite: OperatorRewrite, translation: Callable[..., Any], log: Log
) -> Callable[..., Any]:
    """The same function, noting each node that it writes."""

    @functools.wraps(translation)
    def noted(*args: Any, **kwargs: Any) -> Any:
        log.note_translated(rewrite.name)
        return translation(*args, **kwargs)

    return noted


@contextmanager
def symbolics_registered(rewrites: Mapping[str, OperatorRewrite], log: Log) -> Iterator[None]:
    """Registers symbolic functions for TorchScript's exporter; those of a user come back."""
    before = {name: _registered(name) for name in rewrites}
    try:
        for name, rewrite in rewrites.items():
            for opset in _OPSETS:
                register_custom_op_symbolic(name, _noted(rewrite, log), opset)
        yield
    finally:
        for name, earlier in before.items():
            present = _registered(name)
            for opset in _OPSETS:
                if opset in present:
                    unregister_custom_op_symbolic(name, opset)
                if opset in earlier:
                    register_custom_op_symbolic(name, earlier[opset], opset)


_OPSETS = range(9, 24)
"""Torch takes the newest that is not above the one exported, its own ones too: so all are set."""


def _registered(name: str) -> dict[int, Any]:
    """The symbolic functions that somebody registered for an operator, by opset."""
    from torch.onnx._internal.torchscript_exporter.registration import registry

    group = registry.get_function_group(name)
    return dict(group._functions._overrides) if group is not None else {}


def _noted(rewrite: OperatorRewrite, log: Log) -> Callable[..., Any]:
    def symbolic(g: Any, *args: Any, **kwargs: Any) -> Any:
        log.note_traced(rewrite.name, getattr(g, "original_node", None))
        return rewrite.symbolic(g, *args, **kwargs)

    return symbolic
