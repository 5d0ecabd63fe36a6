"""Imports `file.py:function` and calls it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from modelport.errors import ModelportError, SourceError


def call_reference(text: str) -> Any:
    """What the function returns.

    Raises:
        SourceError: where the file or the function is missing, or either of them raises; the
            message then names the line.
    """
    file, separator, name = text.rpartition(":")
    if not separator or not file.endswith(".py"):
        raise SourceError(
            f"The source {text!r} cannot be read",
            expected="FILE.py:FUNCTION, a model file (.onnx, .pt2, TorchScript .pt), or CODEBASE:NAME",
            hint="Write for example examples/mobilenet_v2.py:build, or timm:resnet18",
        )
    path = Path(file)
    if not path.is_file():
        raise SourceError(f"There is no file {path}", hint="Check the path before the colon")
    module = _run(path, lambda: _import(path))
    function = getattr(module, name, None)
    if not callable(function):
        offers = [key for key, value in vars(module).items() if _is_own(value, module)]
        raise SourceError(
            f"{path} has no function {name!r}",
            expected=f"one of {', '.join(offers)}" if offers else None,
            hint="Define a function that returns an nn.Module, a modelport.Network or a modelport.Source",
        )
    return _run(path, function)


def _is_own(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _import(path: Path) -> ModuleType:
    name = f"modelport_source_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _run(path: Path, call: Any) -> Any:
    try:
        return call()
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{path} imports {error.name}, which is not installed",
            hint=f"Install it beside modelport, for example with: pip install {error.name}",
        ) from error
    except ModelportError:
        raise
    except (Exception, SystemExit) as error:
        raise SourceError(
            f"{_line(path, error)} raised {type(error).__name__}: {error}",
            hint="The model is built from this file; run it alone to find the mistake",
        ) from error


def _line(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f"{path}:{own[-1].lineno}" if own else str(path)
