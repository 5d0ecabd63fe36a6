"""The optimisers, each as its user calls it: a file in, a file out, default settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Optimizer = Callable[[Path, Path], None]


def modelport_(source: Path, target: Path) -> None:
    """With its check on two random feeds, as by default."""
    import modelport
    from modelport.graph import io

    io.save(modelport.optimize(source).model, target)


def modelport_unchecked(source: Path, target: Path) -> None:
    """Without the check, which the others do not have by default either."""
    import modelport
    from modelport.graph import io

    io.save(modelport.optimize(source, check=False).model, target)


def onnxsim_(source: Path, target: Path) -> None:
    import onnx  # noqa: TID251
    import onnxsim

    simplified, _ = onnxsim.simplify(str(source))
    onnx.save(simplified, str(target))


def onnxslim_(source: Path, target: Path) -> None:
    import onnx  # noqa: TID251
    import onnxslim

    onnx.save(onnxslim.slim(str(source)), str(target))


def onnxoptimizer_(source: Path, target: Path) -> None:
    import onnx  # noqa: TID251
    import onnxoptimizer

    onnx.save(onnxoptimizer.optimize(onnx.load(str(source))), str(target))


def onnxscript_(source: Path, target: Path) -> None:
    import onnx_ir as ir
    import onnxscript.optimizer

    model = ir.load(source)
    onnxscript.optimizer.optimize_ir(model)
    ir.save(model, target)


def onnxruntime_(source: Path, target: Path) -> None:
    """Offline, at the level whose result any processor can run; it may hold operators of its own."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


CONTENDERS: dict[str, Optimizer] = {
    "modelport": modelport_,
    "modelport, no check": modelport_unchecked,
    "onnxsim": onnxsim_,
    "onnxslim": onnxslim_,
    "onnxoptimizer": onnxoptimizer_,
    "onnxscript": onnxscript_,
    "onnxruntime": onnxruntime_,
}

OURS = "modelport"
OTHERS = [name for name in CONTENDERS if not name.startswith(OURS)]

MODULES = {
    "modelport": "modelport.optimization",
    "modelport, no check": "modelport.optimization",
    "onnxsim": "onnxsim",
    "onnxslim": "onnxslim",
    "onnxoptimizer": "onnxoptimizer",
    "onnxscript": "onnxscript.optimizer",
    "onnxruntime": "onnxruntime",
}
"""What is imported before the clock starts."""
