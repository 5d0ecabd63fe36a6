"""What the predictor adds to the bare engine call, for a ready tensor."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import openvino as ov
from harness import THREADS, demo_bundle, in_turn, photos, publish

import modelport
from modelport.bundle.manifest import VariantEntry
from modelport.bundle.read import Bundle


def bare_call(bundle: Bundle, variant: VariantEntry, tensor: np.ndarray) -> Callable[[], object]:
    """The engine's own call as its documentation gives it, without anything of ours."""
    files = bundle.artifact(variant).files
    if variant.engine == "onnxruntime":
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = ort.InferenceSession(str(files["model"].path), options)
        return lambda: session.run(None, {"image": tensor})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
        "INFERENCE_PRECISION_HINT": variant.options["inference_precision"],
    }
    compiled = ov.Core().compile_model(files["model"].path, "CPU", settings)
    return lambda: compiled(tensor)


def main() -> None:
    bundle = Bundle(demo_bundle())
    rows = [
        "| variant | bare call ms | predictor ms | overhead µs |",
        "| --- | ---: | ---: | ---: |",
    ]
    for variant in bundle.variants:
        predictor = modelport.Predictor(bundle, variant=variant.name, threads=THREADS)
        assert predictor.pipeline is not None
        tensor = predictor.pipeline(photos()[0])
        calls = {
            "bare": bare_call(bundle, variant, tensor),
            "predictor": lambda p=predictor, t=tensor: p.infer(t),
        }
        times = in_turn(calls, rounds=60, warm=5, counted=40)
        bare, ours = (statistics.median(times[name]) for name in ("bare", "predictor"))
        paired = [b - a for a, b in zip(times["bare"], times["predictor"], strict=True)]
        rows.append(
            f"| {variant.name} | {bare:.3f} | {ours:.3f} | {statistics.median(paired) * 1e3:.0f} |"
        )
    publish(
        "overhead",
        "Overhead of the predictor over the bare engine call",
        ["Target: under 50 µs, labels and scores of the best five classes included.", "", *rows],
    )


if __name__ == "__main__":
    main()
