"""modelport takes trained models to production.

The public names are bound on first use, so `import modelport` loads no engine and no compiler.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "check": "modelport.check",
    "deploy": "modelport.deploy",
    "export": "modelport.export",
    "export_end_to_end": "modelport.endtoend.export",
    "mark": "modelport.marking",
    "load": "modelport.runtime.loading",
    "tune": "modelport.tuning",
    "verify": "modelport.verify.bundle",
    "inspect": "modelport.inspection",
    "optimize": "modelport.optimization",
    "prepare": "modelport.preparation",
    "Network": "modelport.frontends.network",
    "Source": "modelport.frontends.source",
    "ExportOptions": "modelport.frontends.options",
    "Limits": "modelport.tune.limits",
    "Bundle": "modelport.bundle.read",
    "Predictor": "modelport.runtime.predictor",
    "Pipeline": "modelport.runtime.pipeline",
    "TensorSpec": "modelport.types",
    "Signature": "modelport.types",
    "Target": "modelport.types",
    "Dim": "modelport.types",
    "ModelportError": "modelport.errors",
}

_ROOMS = {
    "graph": "modelport.graph",
    "transforms": "modelport.runtime.transforms",
    "rewrites": "modelport.frontends.rewrites",
}

__all__ = [
    "Bundle",
    "Dim",
    "ExportOptions",
    "Limits",
    "ModelportError",
    "Network",
    "Pipeline",
    "Predictor",
    "Signature",
    "Source",
    "Target",
    "TensorSpec",
    "__version__",
    "check",
    "deploy",
    "export",
    "export_end_to_end",
    "graph",
    "inspect",
    "load",
    "mark",
    "optimize",
    "prepare",
    "rewrites",
    "transforms",
    "tune",
    "verify",
]

if TYPE_CHECKING:
    from modelport import graph
    from modelport.bundle.read import Bundle
    from modelport.check import check
    from modelport.deploy import deploy
    from modelport.endtoend.export import export_end_to_end
    from modelport.errors import ModelportError
    from modelport.export import export
    from modelport.frontends import rewrites
    from modelport.frontends.network import Network
    from modelport.frontends.options import ExportOptions
    from modelport.frontends.source import Source
    from modelport.inspection import inspect
    from modelport.marking import mark
    from modelport.optimization import optimize
    from modelport.preparation import prepare
    from modelport.runtime import transforms
    from modelport.runtime.loading import load
    from modelport.runtime.pipeline import Pipeline
    from modelport.runtime.predictor import Predictor
    from modelport.tune.limits import Limits
    from modelport.tuning import tune
    from modelport.types import Dim, Signature, Target, TensorSpec
    from modelport.verify.bundle import verify


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(_ROOMS[name])
    if name not in _WHERE:
        raise AttributeError(f"module 'modelport' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """Keeps `modelport.deploy` and `modelport.verify` functions.

    Rooms of those names exist too, and importing one would otherwise bind it over the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
