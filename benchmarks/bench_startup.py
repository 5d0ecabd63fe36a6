"""How long a session takes to open and to give its first answer, with and without what was kept before.

    scripts/bench startup

ONNX Runtime keeps the model as its optimiser leaves it, OpenVINO the compiled network, both in the cache
of this machine. Sessions are opened in turn in one process, so the import of the engine is not in the
times. `first` is the start that keeps: it comes once, and costs the writing.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
from harness import publish

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.frontends import ExportOptions, open_source
from modelport.optimization import optimize
from modelport.tailoring import Tailor
from modelport.types import Artifact, Target

NETWORKS = ("mobilenetv3_large_100", "resnet50", "vit_small_patch16_224")
ROUNDS = 15
THREADS = 1
PLAIN, KEPT = "from the artifact", "from what was kept"


def artifacts(network: str, folder: Path) -> dict[str, Artifact]:
    module = timm.create_model(network, pretrained=False).eval()
    source = open_source(module, inputs="x=1x3x224x224", options=ExportOptions())
    graph = optimize(source.to_graph()).model
    found = {}
    for name in ("onnxruntime", "openvino"):
        engine = ENGINES.get(name)
        place = folder / network / name
        place.mkdir(parents=True)
        fitted = Tailor().fit(graph, engine, engine.rules.legalize)
        found[name] = engine.compile(fitted, Target(threads=THREADS), place)
    return found


def start(engine: Engine, artifact: Artifact, *, kept: bool) -> tuple[float, float]:
    """Milliseconds until the first answer, by the clock and of the processor."""
    os.environ["MODELPORT_CACHE_BYTES"] = "10000000000" if kept else "0"
    feeds = {s.name: np.zeros(s.smallest(), s.dtype) for s in artifact.signature.inputs}
    clock, work = time.perf_counter(), time.process_time()
    with engine.load(artifact, threads=THREADS) as session:
        session.run(feeds)
        return (time.perf_counter() - clock) * 1e3, (time.process_time() - work) * 1e3


def main() -> None:
    rows = [
        "| network | engine | start | clock ms | 10 % | 90 % | processor ms | first, clock ms |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MODELPORT_HOME"] = f"{folder}/home"
        for network in NETWORKS:
            made = artifacts(network, Path(folder))
            firsts = {name: start(ENGINES.get(name), made[name], kept=True)[0] for name in made}
            times: dict[tuple[str, str], list[tuple[float, float]]] = {}
            for _ in range(ROUNDS):
                for name, artifact in made.items():
                    for how in (PLAIN, KEPT):
                        found = start(ENGINES.get(name), artifact, kept=how == KEPT)
                        times.setdefault((name, how), []).append(found)
            for (name, how), values in times.items():
                clock = [each[0] for each in values]
                work = statistics.median(each[1] for each in values)
                cuts = statistics.quantiles(clock, n=10)
                first = f"{firsts[name]:.0f}" if how == KEPT else ""
                rows.append(
                    f"| {network} | {name} | {how} | {statistics.median(clock):.0f} | {cuts[0]:.0f} "
                    f"| {cuts[-1]:.0f} | {work:.0f} | {first} |"
                )
    publish(
        "startup",
        "Start of a session, up to its first answer",
        ["Target: half the processor time of a start without.", "", *rows],
        threads=THREADS,
    )


if __name__ == "__main__":
    main()
