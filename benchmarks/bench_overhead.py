"""What the predictor adds to the bare engine call, for a ready tensor."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import THREADS, demo_bundle, in_turn, photos, publish

import modelport
from modelport.bundle.read import Bundle


def bare_call(predictor: modelport.Predictor, tensor: np.ndarray) -> Callable[[], object]:
    """The engine's own call as its documentation gives it, on the predictor's own compiled model.

    A second copy of the model would differ by some percent for where it happens to lie in memory.
    """
    session: Any = predictor.session
    if predictor.variant.engine == "onnxruntime":
        return lambda: session._session.run(None, {"image": tensor})
    return lambda: session._compiled(tensor)


def main() -> None:
    bundle = Bundle(demo_bundle())
    rows = [
        "| variant | bare call ms | predictor ms | overhead µs |",
        "| --- | ---: | ---: | ---: |",
    ]
    for variant in bundle.variants:
        predictor = modelport.Predictor(bundle, variant=variant.name, threads=THREADS)
        assert predictor.preprocessor is not None
        tensor = predictor.preprocessor(photos()[0])
        calls = {
            "bare": bare_call(predictor, tensor),
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
