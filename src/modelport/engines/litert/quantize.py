"""Makes a converted model smaller: weights in half precision, or arithmetic in eight bits.

Integers throughout are fastest, and too coarse for some networks: layer normalization, or wide ranges
between convolutions of few channels. Where the calibration feeds show that, products alone take
integers, and each run finds the ranges of what goes in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
from ai_edge_quantizer.utils import qsv_utils

from modelport.engines.conversion import Conversion
from modelport.engines.litert.interface import input_name, narrowed, places
from modelport.types import Array

STATIC, DYNAMIC = "static", "dynamic"
ENOUGH_DB = 15.0
"""Signal to noise that integers throughout must keep; a sound network lies at 20 and more."""
COMPARED = 8
"""So many feeds tell whether they do."""

TINY = 1e-30

SIGNATURE = "serving_default"
"""The name that the converter gives to the only one."""

Recipe = list[dict[str, Any]]

AS_THEY_WERE: Recipe = [
    {"regex": ".*", "operation": each, "algorithm_key": "no_quantize", "op_config": {}}
    for each in ("INPUT", "OUTPUT")
]
HALF: Recipe = [
    {
        "regex": ".*",
        "operation": "*",
        "algorithm_key": "float_casting",
        "op_config": {
            "weight_tensor_config": {
                "num_bits": 16,
                "symmetric": True,
                "granularity": "TENSORWISE",
                "dtype": "FLOAT",
            },
            "compute_precision": "FLOAT",
            "explicit_dequantize": True,
        },
    }
]


def halved(model: bytes) -> bytes:
    return _made(model, HALF, None)


def quantized(model: bytes, job: Conversion) -> tuple[bytes, str]:
    """The model with quantized operators, and how that was done."""
    names = [spec.name for spec in job.signature.inputs]
    feeds = [[narrowed(each[name], name) for name in names] for each in job.calibration()]
    if feeds:
        rules = [*recipe.static_wi8_ai8(), *AS_THEY_WERE]
        made = _made(model, rules, _ranges(model, rules, feeds))
        if _least_sqnr_db(model, made, feeds[:COMPARED], job) >= ENOUGH_DB:
            return made, STATIC
    return _made(model, recipe.dynamic_wi8_afp32(), None), DYNAMIC


def _made(model: bytes, rules: Recipe, ranges: Any) -> bytes:
    worker = quantizer.Quantizer(model, rules)
    return bytes(worker.quantize(ranges, enable_progress_report=False).quantized_model)


def _ranges(model: bytes, rules: Recipe, feeds: Sequence[list[Array]]) -> Any:
    """The whole range of each tensor: the quantizer's own default is a slow average, and so a guess
    from the first few feeds."""
    worker = calibrator.Calibrator(model, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(rules)
    named = [{input_name(i): array for i, array in enumerate(feed)} for feed in feeds]
    worker.calibrate({SIGNATURE: named}, manager)
    return worker.get_model_qsvs()


def _least_sqnr_db(
    one: bytes, other: bytes, feeds: Sequence[list[Array]], job: Conversion
) -> float:
    """Of the output that lost most."""
    wanted, found = _run(one, feeds, job), _run(other, feeds, job)
    ratios = []
    for index, spec in enumerate(job.signature.outputs):
        if spec.dtype.startswith("float"):
            pairs = [
                (a[index].astype(np.float64), b[index]) for a, b in zip(wanted, found, strict=True)
            ]
            noise = sum(float(np.square(want - got).sum()) for want, got in pairs)
            signal = sum(float(np.square(want).sum()) for want, _ in pairs)
            ratios.append(max(signal, TINY) / max(noise, TINY))
    return min((10 * math.log10(each) for each in ratios), default=math.inf)


def _run(model: bytes, feeds: Sequence[list[Array]], job: Conversion) -> list[list[Array]]:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = places(interpreter, job.signature)
    results = []
    for feed in feeds:
        for place, array in zip(inputs, feed, strict=True):
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        results.append([interpreter.get_tensor(place) for place in outputs])
    return results
