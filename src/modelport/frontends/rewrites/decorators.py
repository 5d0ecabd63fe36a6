"""Makes a rewrite of a plain function: `@rewrites.function("package.function")`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from modelport.errors import UsageError
from modelport.frontends.rewrites.base import (
    TORCH_EXPORT,
    TORCHSCRIPT,
    FunctionRewrite,
    ModuleRewrite,
    OperatorRewrite,
    Rewrite,
)
from modelport.frontends.rewrites.choose import check

Made = TypeVar("Made", bound=Rewrite)

_SETTINGS = ("name", "summary", "needed_by", "engine", "package", "exporters", "graph_only")
_WAYS = ("decomposition", "translation", "symbolic", "function")


def function(target: str, **settings: Any) -> Callable[[Callable[..., Any]], FunctionRewrite]:
    """Makes the decorated function the replacement of another.

    It takes the function that it replaces, then the arguments of the call.

    Args:
        target: the dotted name, such as `torch.nn.functional.pad`.
        settings: attributes of `Rewrite`. The name is by default that of the decorated function, the
            summary the first line of its docstring.
    """

    def decorate(body: Callable[..., Any]) -> FunctionRewrite:
        return _made(_Function(body), body, target, settings)

    return decorate


def module(
    target: str, **settings: Any
) -> Callable[[Callable[[nn.Module], nn.Module]], ModuleRewrite]:
    """Makes the decorated function, or class, give what stands in place of a module.

    It takes the module. See `function` for the settings.
    """

    def decorate(body: Callable[[nn.Module], nn.Module]) -> ModuleRewrite:
        return _made(_Module(body), body, target, settings)

    return decorate


def operator(
    target: str, *, way: str = "decomposition", **settings: Any
) -> Callable[[Callable[..., Any]], OperatorRewrite]:
    """Makes the decorated function say how an operator is written as ONNX.

    Args:
        target: `namespace::operator`.
        way: what the function is: a `decomposition` into torch operators, a `translation` written with
            onnxscript's operators, a `symbolic` for the TorchScript-based exporter, or a `function` under
            `onnxscript.script`, which stays one node of its own domain.
        settings: see `function`.
    """
    if way not in _WAYS:
        raise UsageError(f"There is no way {way!r}", expected=f"one of {', '.join(_WAYS)}")

    def decorate(body: Callable[..., Any]) -> OperatorRewrite:
        return _made(_kind(way)(body), body, target, settings)

    return decorate


def _kind(way: str) -> Callable[[Callable[..., Any]], OperatorRewrite]:
    if way == "function":
        from modelport.frontends.rewrites.bodies import (
            FunctionRewriteOfOperator,
        )  # needs onnxscript

        return FunctionRewriteOfOperator
    kinds = {"decomposition": _Decomposition, "translation": _Translation}
    return kinds.get(way, _Symbolic)


def _made(rewrite: Made, body: Callable[..., Any], target: str, settings: dict[str, Any]) -> Made:
    for key, value in settings.items():
        if key not in _SETTINGS:
            near = difflib.get_close_matches(key, _SETTINGS, n=1)
            raise UsageError(
                f"A rewrite of {target!r} was given the keyword {key!r}",
                expected=f"one of {', '.join(_SETTINGS)}",
                hint=f"Perhaps you meant {near[0]!r}" if near else None,
            )
        setattr(rewrite, key, value)
    rewrite.target = target
    rewrite.name = settings.get("name", body.__name__)
    lines = (body.__doc__ or "").strip().splitlines()
    rewrite.summary = settings.get("summary", lines[0].rstrip(".") if lines else "")
    check(rewrite)
    return rewrite


class _Function(FunctionRewrite):
    def __init__(self, body: Callable[..., Any]) -> None:
        self._body = body

    def replace(self, original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self._body(original, *args, **kwargs)


class _Module(ModuleRewrite):
    def __init__(self, body: Callable[[nn.Module], nn.Module]) -> None:
        self._body = body

    def replace(self, module: nn.Module) -> nn.Module:
        return self._body(module)


class _Operator(OperatorRewrite):
    def __init__(self, body: Callable[..., Any]) -> None:
        self._body = body


class _Decomposition(_Operator):
    exporters = (TORCH_EXPORT,)

    def decomposition(self) -> Callable[..., Any]:
        return self._body


class _Translation(_Operator):
    exporters = (TORCH_EXPORT,)

    def translation(self) -> Callable[..., Any]:
        return self._body


class _Symbolic(_Operator):
    exporters = (TORCHSCRIPT,)

    def symbolic(self, g: Any, *args: Any) -> Any:
        return self._body(g, *args)
