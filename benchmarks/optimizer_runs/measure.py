"""What each contender makes of a file: time and memory of the optimiser, nodes, error and latency."""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from optimizer_runs.contenders import CONTENDERS, MODULES, OTHERS, OURS

LIMIT_S = 300
RUNS = 3
"""Of each optimiser on each file; the first one counts for memory, the median for time."""

ROUNDS, CALLS = 7, 2
AGAIN = 3
"""The least of five noisy figures is less than a sixth of the same file: seen so far, it is measured anew."""


@dataclass
class Row:
    """Attributes:
    wall_s: median of the optimiser, reading and writing the file included.
    peak_mib: memory that it took on top of what its imports did.
    nodes: in all graphs, Constant nodes left out: some contenders keep constants so.
    error: largest difference to the file as it was, over its largest value.
    ort_ms, openvino_ms: single-thread processor time of a call, median over turns.
    ort_again, openvino_again: of ours alone, where another came out faster: the ratio to that one's
        latency when only the two are opened anew and measured in turn, `AGAIN` times.
    problem: why there is no file, or none that runs.
    """

    subject: str
    contender: str
    wall_s: float | None = None
    peak_mib: float | None = None
    nodes: int | None = None
    error: float | None = None
    ort_ms: float | None = None
    openvino_ms: float | None = None
    ort_again: float | None = None
    openvino_again: float | None = None
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measured(subject: str, source: Path, folder: Path) -> list[Row]:
    """One row for the file as it is, and one for each contender."""
    files = {"as exported": source}
    rows = {"as exported": Row(subject, "as exported")}
    for name in CONTENDERS:
        target = folder / f"{name.replace(', ', '_').replace(' ', '_')}.onnx"
        rows[name] = _optimized(subject, name, source, target)
        if not rows[name].problem:
            files[name] = target
    feeds = [_feeds(source, seed) for seed in (1, 2)]
    want = [_plainly(source, feed) for feed in feeds]
    for name, file in list(files.items()):
        _describe(rows[name], file, feeds, want)
        if rows[name].problem:
            del files[name]
    for engine, column in ((_onnxruntime, "ort"), (_openvino, "openvino")):
        found = _latencies(engine, files, feeds[0])
        for name, latency in found.items():
            setattr(rows[name], f"{column}_ms", latency)
        best = min((name for name in found if name in OTHERS), key=found.__getitem__, default=None)
        if best is not None and found.get(OURS, 0.0) > found[best]:
            ratio = _again(engine, files[OURS], files[best], feeds[0])
            setattr(rows[OURS], f"{column}_again", ratio)
    return list(rows.values())


def _again(
    engine: Callable[[Path, Mapping[str, Any]], Callable[[], object]],
    ours: Path,
    other: Path,
    feed: Mapping[str, Any],
) -> float:
    """How many times as slow ours is; which is opened first alternates."""
    ratios = []
    for turn in range(AGAIN):
        pair = {"ours": ours, "other": other}
        order = pair if turn % 2 == 0 else dict(reversed(pair.items()))
        times = _latencies(engine, order, feed)
        ratios.append(times["ours"] / times["other"])
    return statistics.median(ratios)


def _optimized(subject: str, name: str, source: Path, target: Path) -> Row:
    """In a process of its own, started anew, which alone tells the memory of one optimiser."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(name, source, target, theirs))
    process.start()
    theirs.close()
    row = Row(subject, name)
    try:
        outcome = mine.recv() if mine.poll(LIMIT_S) else f"took over {LIMIT_S} s"
    except EOFError:
        process.join()
        outcome = f"the process died with code {process.exitcode}"
    if isinstance(outcome, str):
        row.problem = outcome
        process.kill()
    else:
        row.wall_s, row.peak_mib = outcome
    process.join()
    return row


def _work(name: str, source: Path, target: Path, answer: Connection) -> None:
    importlib.import_module(MODULES[name])
    before, times = _memory_mib("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the imports
    try:
        for run in range(RUNS):
            start = time.perf_counter()
            CONTENDERS[name](source, target)
            times.append(time.perf_counter() - start)
            if run == 0:
                peak = _memory_mib("VmHWM") - before
    except Exception as error:
        answer.send(f"{type(error).__name__}: {' '.join(str(error).split())}"[:160])
        return
    answer.send((statistics.median(times), peak))


def _memory_mib(entry: str) -> float:
    """Resident memory now (`VmRSS`) or at most (`VmHWM`), from Linux itself."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(entry))
    return int(line.split()[1]) / 1024


def _describe(
    row: Row, file: Path, feeds: Sequence[dict[str, Any]], want: Sequence[list[Any]]
) -> None:
    import onnx_ir as ir

    nodes = ir.load(file).graph.all_nodes()
    row.nodes = sum(node.op_type != "Constant" for node in nodes)
    try:
        got = [_plainly(file, feed) for feed in feeds]
    except Exception as error:
        words = " ".join(str(error).replace(str(file), file.name).split())
        row.problem = f"does not run: {words}"[:160]
        return
    row.error = max(
        _difference(one, other)
        for wants, gots in zip(want, got, strict=True)
        for one, other in zip(wants, gots, strict=True)
    )


def _difference(want: Any, got: Any) -> float:
    if want.shape != got.shape:
        return float("inf")
    return float(np.abs(want - got).max() / np.abs(want).max())


def _feeds(file: Path, seed: int) -> dict[str, Any]:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(seed)
    return {
        entry.name: generator.random(entry.shape, dtype=np.float32)
        for entry in session.get_inputs()
    }


def _options(level: Any) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = level
    return options


def _plainly(file: Path, feed: Mapping[str, Any]) -> list[Any]:
    """Run without ONNX Runtime's own optimisations, which might hide a mistake."""
    options = _options(ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))


def _onnxruntime(file: Path, feed: Mapping[str, Any]) -> Callable[[], object]:
    options = _options(ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feed))


def _openvino(file: Path, feed: Mapping[str, Any]) -> Callable[[], object]:
    import openvino as ov

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = ov.Core().compile_model(str(file), "CPU", settings).create_infer_request()
    return lambda: request.infer(dict(feed))


def _latencies(
    engine: Callable[[Path, Mapping[str, Any]], Callable[[], object]],
    files: Mapping[str, Path],
    feed: Mapping[str, Any],
) -> dict[str, float]:
    """Milliseconds of processor time, all files in turn; files that the engine refuses are left out."""
    calls = {}
    for name, file in files.items():
        try:
            calls[name] = engine(file, feed)
            calls[name]()
        except Exception:  # operators of ONNX Runtime's own, for instance
            calls.pop(name, None)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            call()
            start = time.process_time()
            for _ in range(CALLS):
                call()
            times[name].append((time.process_time() - start) / CALLS * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}
