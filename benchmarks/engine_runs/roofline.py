"""What this machine can do at most: operations per second in each precision, and bytes per second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import openvino as ov
from openvino import opset13 as ops

SIZE = 1536
"""Rows and columns of the product: large enough to be bound by arithmetic, small enough for caches."""


@dataclass(frozen=True)
class Roof:
    """Attributes:
    operations: multiplications and additions per second by precision; 0 where the processor has none.
    bytes_per_s: read and written by a copy.
    """

    operations: dict[str, float]
    bytes_per_s: float


def measured(threads: int) -> Roof:
    products = {
        "fp32": _product("f32", threads),
        "bf16": _product("bf16", threads) if _has_bf16() else None,
        "int8": _integers(threads),
    }
    return Roof(
        {
            name: 0.0 if made is None else 2 * SIZE**3 / _best(made)
            for name, made in products.items()
        },
        _copied(),
    )


def _has_bf16() -> bool:
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _product(precision: str, threads: int) -> Callable[[], object]:
    """Of OpenVINO."""
    generator = np.random.default_rng(0)
    data = ops.parameter([SIZE, SIZE], np.float32)
    weights = generator.normal(size=(SIZE, SIZE)).astype(np.float32)
    result = ops.matmul(data, ops.constant(weights), False, False)
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = ov.Core().compile_model(ov.Model([result], [data]), "CPU", settings)
    request = compiled.create_infer_request()
    feed = generator.normal(size=(SIZE, SIZE)).astype(np.float32)
    return lambda: request.infer(feed, share_inputs=True)


def _integers(threads: int) -> Callable[[], object]:
    """Of ONNX Runtime: OpenVINO computes a lone product of integers in floating point."""
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        product (uint8[{SIZE}, {SIZE}] x, int8[{SIZE}, {SIZE}] w) => (int32[{SIZE}, {SIZE}] y) {{
            y = MatMulInteger (x, w)
        }}"""
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.integers(0, 256, (SIZE, SIZE), dtype=np.uint8),
        "w": generator.integers(-127, 128, (SIZE, SIZE), dtype=np.int8),
    }
    return lambda: session.run(None, feeds)


def _best(call: Callable[[], object]) -> float:
    """Seconds of the fastest tenth: a roof is what the machine can do when nothing disturbs it."""
    for _ in range(3):
        call()
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.quantiles(times, n=10)[0]


def _copied() -> float:
    source = np.ones(64 << 20, np.uint8)
    target = np.empty_like(source)
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source))
